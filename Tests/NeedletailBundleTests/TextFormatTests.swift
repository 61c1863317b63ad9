import CNeedletailProto
import NeedletailBundle
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@Suite("Bundles of format 1.6")
struct TextFormatTests {
  private let contents = BundleContents(
    definition: ModelFixtures.textLengths(),
    golden: [
      GoldenSample(
        name: "two texts", cells: [.text("one"), .number(1), .text("a\tb")],
        expectation: .answers([("prediction", .numbers([Double(Float(1003.003))]))]), tolerance: 1e-6),
      GoldenSample(
        name: "no title", cells: [.missing, .number(1), .text("")], expectation: .refusal(.invalidArgument),
        tolerance: 0),
    ])

  @Test func textsComeBackEqual() throws {
    let bytes = try BundleFixtures.bundle(contents)
    #expect(try read(bytes) == contents)
    #expect(Array(bytes[8..<12]) == [1, 0, 6, 0], "major and minor")
    let model = try CompiledModel(contents.definition)
    try GoldenCheck.run(contents.golden, on: model)
  }

  @Test func termsComeBackEqual() throws {
    let contents = BundleContents(definition: ModelFixtures.topics())
    let bytes = try BundleFixtures.bundle(contents)
    #expect(try read(bytes) == contents)
    #expect(Array(bytes[8..<12]) == [1, 0, 6, 0], "major and minor")
  }

  @Test(arguments: ["sizes that do not add up", "buckets beside terms"])
  func termsThatContradictThemselvesAreRefused(fault: String) throws {
    var assembly = try assembly(BundleContents(definition: ModelFixtures.topics()))
    let index = try #require(assembly.sections.firstIndex { $0.number == SectionType.graph.rawValue })
    let message = try #require(
      assembly.sections[index].stored.withUnsafeBufferPointer {
        needletail__v1__graph__unpack(nil, $0.count, $0.baseAddress)
      })
    defer { needletail__v1__graph__free_unpacked(message, nil) }
    let terms = try #require(message.pointee.nodes[0]?.pointee.text_terms)
    if fault == "buckets beside terms" { terms.pointee.buckets = 3 } else { terms.pointee.term_bytes[0] += 1 }
    var bytes = [UInt8](repeating: 0, count: needletail__v1__graph__get_packed_size(message))
    needletail__v1__graph__pack(message, &bytes)
    assembly.sections[index].stored = bytes
    assembly.sections[index].rawBytes = bytes.count
    let sealed = try assembly.encode(signing: [BundleFixtures.key])
    let error = #expect(throws: BundleError.self) { try read(sealed) }
    #expect(
      error.map { "\($0)" }?.contains("node \"words\": terms: expected their bytes as long as their sizes say") == true)
  }

  @Test func aTextThatIsNotTheGraphsIsRefused() throws {
    var contents = contents
    contents.definition.schema.features[0].kind = .numeric
    let error = #expect(throws: BundleError.self) { try BundleFixtures.bundle(contents) }
    #expect(
      error.map { "\($0)" }?
        .contains("text input: expected one text for each of 1 features that are text, found 2") == true)
  }

  @Test func aTextFeatureHasNoBuckets() throws {
    var contents = contents
    contents.definition.schema.features[0].buckets = 3
    #expect(throws: BundleError.self) { try BundleFixtures.bundle(contents) }
  }
}
