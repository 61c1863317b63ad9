import Foundation
import NeedletailBundle
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

/// Bundles of formats 1.0 and 1.1 as they were when these were defined. If one of these tests fails, the format has
/// drifted: bundles in the field can no longer be read, or readers in the field cannot read new ones.
@Suite("The format does not drift")
struct FixtureTests {
  private func fixture(_ name: String) throws -> [UInt8] {
    let url = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Fixtures/\(name)")
    return try Array(Data(contentsOf: url))
  }

  @Test func aSignedBundleIsStillRead() throws {
    #expect(try read(fixture("signed-1.0.ntb")) == BundleFixtures.contents())
  }

  @Test func aGraphOfFormat11IsStillReadAndWritten() throws {
    let contents = BundleContents(definition: BundleFixtures.openGraph())
    #expect(try read(fixture("open-graph-1.1.ntb"), trust: .allowingUnsigned) == contents)
    #expect(try assembly(contents).encode(signing: []) == fixture("open-graph-1.1.ntb"))
  }

  @Test func aBundleOfTreesIsStillReadWrittenAndAnswersItsGoldenSamples() throws {
    let contents = BundleFixtures.trees()
    let bytes = try fixture("trees-1.1.ntb")
    #expect(try read(bytes, trust: .allowingUnsigned) == contents)
    #expect(try assembly(contents).encode(signing: []) == bytes)
    try GoldenCheck.run(contents.golden, on: CompiledModel(contents.definition))
  }

  @Test func rawBytesAreStillWritten() throws {
    #expect(try assembly().encode(signing: []) == fixture("raw-unsigned-1.0.ntb"))
  }
}
