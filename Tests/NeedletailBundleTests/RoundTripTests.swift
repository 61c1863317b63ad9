import NeedletailBundle
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@Suite("What was written is read")
struct RoundTripTests {
  private func open(_ bytes: [UInt8]) throws -> VerifiedBundle {
    try VerifiedBundle(
      BundleFile(bytes: bytes), trust: BundleFixtures.trust,
      expecting: (ModelID(BundleFixtures.modelName), ModelVersion(1)!), nowMilliseconds: 1)
  }

  @Test(arguments: [BundleFixtures.classifier(), BundleFixtures.line(weight: 3, bias: 1)])
  func contentsAreReadBackEqual(definition: ModelDefinition) throws {
    let contents = BundleFixtures.contents(definition)
    let bundle = try open(BundleFixtures.bundle(contents))
    #expect(try bundle.decode() == contents)
    #expect(bundle.signer == "release")
    #expect(bundle.manifest.createdMilliseconds == 1_760_000_000_000)
    #expect(bundle.manifest.digest.count == 64)
  }

  @Test func optionalPartsMayBeAbsent() throws {
    let contents = BundleContents(definition: BundleFixtures.line(weight: 1))
    #expect(try open(BundleFixtures.bundle(contents)).decode() == contents)
  }

  @Test func equalInputGivesEqualBytes() throws {
    #expect(try BundleFixtures.bundle(keys: []) == BundleFixtures.bundle(keys: []))
  }

  @Test func largeRepetitiveWeightsAreNotTakenForACompressionBomb() throws {
    var definition = BundleFixtures.line(weight: 1)
    definition.graph.tensors.append(
      WeightTensor(
        name: "unused", shape: [1024, 1024], storage: .float32([Float](repeating: 0, count: 1 << 20))))
    let contents = BundleContents(definition: definition)
    #expect(try open(BundleFixtures.bundle(contents)).decode() == contents)
  }

  @Test func severalKeysMaySign() throws {
    let bytes = try BundleFixtures.bundle(keys: [BundleFixtures.strangersKey, BundleFixtures.key])
    let bundle = try open(bytes)
    #expect(bundle.signer == "release")
    #expect(bundle.signatureKeyIDs.count == 2)
  }
}
