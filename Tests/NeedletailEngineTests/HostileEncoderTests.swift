import CNeedletailProto
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

/// Graphs of encoders that must be refused, and words that say why.
@Suite struct HostileEncoderTests {
  private static let width = 8

  /// Embedding, layer norm, attention and pool on ids: the victim.
  private func victim() -> TokenGraph {
    let width = Self.width
    var tokens = TokenGraph(input: ValueType(.int32, [1], per: .token))
    let table = tokens.addTensor([5, width], .float32([Float](repeating: 1, count: 5 * width)))
    let vector = tokens.addTensor([width], .float32([Float](repeating: 1, count: width)))
    let type = ValueType(.float32, [width], per: .token)
    tokens.add(Embedding(table: table), [0], type)
    tokens.add(LayerNorm(scale: vector, bias: vector, epsilon: 1e-5), [1], type)
    tokens.add(SelfAttention(heads: 2), [2, 2, 2], type)
    tokens.add(Pool(.mean), [3], ValueType(columns: width))
    tokens.add(Normalise(), [4], ValueType(columns: width))
    return tokens
  }

  private func expectFault(_ message: String, _ spoil: (inout ModelGraph) -> Void) {
    var graph = victim().graph
    spoil(&graph)
    do throws(GraphFault) {
      try graph.check()
      Issue.record("expected \(message.debugDescription), found no fault")
    } catch {
      #expect(error.message.contains(message), "expected \(message.debugDescription), found \(error.message)")
    }
  }

  @Test func theVictimIsCorrect() throws { try victim().graph.check() }

  @Test func embeddingsAreRefused() {
    expectFault("expected i32 [1] as input, found f32 [1] per token") { $0.values[0].type.element = .float32 }
    expectFault("expected i32 [1] as input, found i32 [2] per token") { $0.values[0].type.shape = [2] }
    expectFault("table in tensor 9, expected 0 to 1") { $0.nodes[0].operation = Embedding(table: 9) }
    expectFault("expected f32, f16 or int8 of shape [rows, width], found [8]") {
      $0.nodes[0].operation = Embedding(table: 1)
    }
    expectFault("expected f32, f16 or int8 of shape [rows, width], found [5, 8]") {
      $0.tensors[0].storage = .int32([Int32](repeating: 1, count: 40))
    }
    expectFault("offset: expected 0 to 4, found 5") { $0.nodes[0].operation = Embedding(table: 0, offset: 5) }
    expectFault("offset: expected 0 to 4, found -1") { $0.nodes[0].operation = Embedding(table: 0, offset: -1) }
    expectFault("expected 8 output columns, found 9") { $0.values[1].columns = 9 }
    expectFault("expected a value per token as input") {
      $0.values[0].type.domain = .row
      $0.nodes[0].operation = Embedding(table: 0, index: .position)
    }
    expectFault("expected at most 2097152 rows") {
      $0.tensors[0] = WeightTensor(
        name: "long", shape: [2_097_153, 1], storage: .float16([UInt16](repeating: 0, count: 2_097_153)))
    }
  }

  @Test func attentionIsRefused() {
    expectFault("expected columns that 3 heads divide, found 8") { $0.nodes[2].operation = SelfAttention(heads: 3) }
    expectFault("expected columns that 0 heads divide") { $0.nodes[2].operation = SelfAttention(heads: 0) }
    expectFault("expected columns that 2 heads of q, k and v divide, found 8") { $0.nodes[2].inputs = [2] }
    expectFault("expected 1 or 3 inputs, found 2") { $0.nodes[2].inputs = [2, 2] }
    expectFault("expected 1 to 3 inputs, found 4") { $0.nodes[2].inputs = [2, 2, 2, 2] }
    expectFault("expected f32 columns per token as input, found i32 [1] per token") { $0.nodes[2].inputs = [2, 2, 0] }
    expectFault("expected columns that \(Int.max) heads divide") {
      $0.nodes[2].operation = SelfAttention(heads: .max)
    }
  }

  @Test func prefixesAreRefused() {
    func prefix(_ keys: Int, _ values: Int) -> SelfAttention {
      SelfAttention(heads: 2, prefix: .init(keys: keys, values: values))
    }
    func spoil(_ shapes: [[Int]], _ message: String, storage: WeightTensor.Storage? = nil) {
      expectFault(message) { graph in
        for shape in shapes {
          graph.tensors.append(
            WeightTensor(
              name: "prefix", shape: shape, storage: storage ?? .float32(.init(repeating: 1, count: shape.reduce(1, *)))
            ))
        }
        graph.nodes[2].operation = prefix(2, 3)
      }
    }
    expectFault("prefix keys in tensor 7, expected 0 to 1") { $0.nodes[2].operation = prefix(7, 0) }
    expectFault("prefix values in tensor -1, expected 0 to 1") { $0.nodes[2].operation = prefix(0, -1) }
    spoil([[3, 7], [3, 7]], "prefix keys \"prefix\": expected fp32 of shape [1 to 8192, 8], found [3, 7]")
    spoil([[24], [24]], "prefix keys \"prefix\": expected fp32 of shape [1 to 8192, 8], found [24]")
    spoil([[8193, 8], [8193, 8]], "expected fp32 of shape [1 to 8192, 8], found [8193, 8]")
    spoil([[3, 8], [4, 8]], "prefix values \"prefix\": expected fp32 of shape [3, 8], found [4, 8]")
    spoil(
      [[1, 8], [1, 8]], "prefix keys \"prefix\": expected fp32", storage: .float16(.init(repeating: 0, count: 8)))
  }

  @Test func halfAPrefixIsRefused() {
    var message = Needletail__V1__SelfAttention()
    needletail__v1__self_attention__init(&message)
    (message.heads, message.prefix_keys) = (2, 1)
    let error = #expect(throws: GraphFault.self) { try SelfAttention(message) }
    #expect(
      error.map { "\($0)" }?.contains("expected keys and values of a prefix, or neither, found keys alone") == true)
  }

  @Test func layerNormIsRefused() {
    expectFault("scale in tensor 7, expected 0 to 1") {
      $0.nodes[1].operation = LayerNorm(scale: 7, bias: 1, epsilon: 1e-5)
    }
    expectFault("expected fp32 of shape [8], found [5, 8]") {
      $0.nodes[1].operation = LayerNorm(scale: 1, bias: 0, epsilon: 1e-5)
    }
    for epsilon in [0, -1, Float.nan, .infinity] {
      expectFault("epsilon: expected a finite number above 0") {
        $0.nodes[1].operation = LayerNorm(scale: 1, bias: 1, epsilon: epsilon)
      }
      expectFault("epsilon: expected a finite number above 0") { $0.nodes[4].operation = Normalise(epsilon: epsilon) }
    }
  }

  @Test func poolIsRefused() {
    expectFault("expected f32 columns per token as input, found f32 [8] per row") {
      $0.nodes[4].operation = Pool(.mean)
    }
    expectFault("expected f32 [8] per row in value 4, found f32 [8] per token") { $0.values[4].type.domain = .token }
  }

  /// Scratch grows with the heads' width and the units of a plan, and is bounded as all scratch is.
  @Test func scratchOfAbsurdSizeIsRefused() throws {
    var tokens = TokenGraph(input: ValueType(.float32, [1 << 18], per: .token))
    tokens.add(SelfAttention(heads: 1), [0, 0, 0], ValueType(.float32, [1 << 18], per: .token))
    #expect(throws: PlanError.self) { try tokens.plan(units: 16_384) }
  }
}
