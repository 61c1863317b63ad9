import NeedletailBundle
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@testable import NeedletailBundle

/// Bundles of encoders.
@Suite("Bundles of encoders")
struct TokenFormatTests {
  @Test(arguments: TokenizerFixtures.all)
  func anEncoderComesBackEqual(tokenizer: TokenizerDefinition) throws {
    let definition = try EncoderFixtures.sentences(tokenizer, tokensMax: 64)
    let contents = BundleContents(definition: definition)
    let bytes = try BundleFixtures.bundle(contents)
    #expect(try read(bytes) == contents)
    #expect(Array(bytes[8..<12]) == [1, 0, 6, 0], "major and minor")
  }

  @Test func attentionWithAPrefixAsksForFormat18() throws {
    let definition = try EncoderFixtures.sentences(TokenizerFixtures.wordPieces(), tokensMax: 64, prefix: 5)
    let contents = BundleContents(definition: definition)
    let bytes = try BundleFixtures.bundle(contents)
    #expect(try read(bytes) == contents)
    #expect(Array(bytes[8..<12]) == [1, 0, 8, 0], "major and minor")
    #expect(bytes[16] & 16 != 0, "required features")
    var unmarked = try assembly(contents)
    unmarked.requiredFeatures &= ~16
    let file = try unmarked.encode(signing: [BundleFixtures.key])
    let error = #expect(throws: BundleError.self) { try read(file) }
    #expect(error.map { "\($0)" }?.contains("expected bit 4 for attention with a prefix") == true)
  }

  /// What an older reader does not know of a table, without a text in it.
  @Test func operationsOfEncodersAskForFormat16() throws {
    let operations: [any GraphOperation] = [LayerNorm(scale: 0, bias: 0, epsilon: 1e-5), Activate(.gelu), Normalise()]
    for operation in operations {
      let definition = ModelDefinition(
        schema: FeatureSchema(features: [Feature(name: "x", kind: .numeric, missing: .refuse)], target: "y"),
        graph: ModelGraph(
          task: .regression, values: [.init(name: "row", columns: 1), .init(name: "y", columns: 1)],
          nodes: [Node(name: "operation", input: 0, output: 1, operation: operation)],
          outputs: [.init(name: "y", value: 1, kind: .number)],
          tensors: [WeightTensor(name: "one", shape: [1], storage: .float32([1]))]),
        labels: [])
      let contents = BundleContents(definition: definition)
      let bytes = try BundleFixtures.bundle(contents)
      #expect(try read(bytes) == contents)
      #expect(Array(bytes[8..<12]) == [1, 0, 6, 0], "major and minor")
    }
  }
}
