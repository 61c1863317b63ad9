internal import NeedletailCore
public import NeedletailEngine

/// Small encoders of random weights: tokens of a text, one layer of BERT's kind, and a vector of length one.
public enum EncoderFixtures {
  /// - Parameters:
  ///   - tokenizer: see ``TokenizerFixtures``.
  ///   - tokensMax: most tokens of a row, and places in the table of them.
  ///   - prefix: places that attention has in front of each row's tokens.
  ///   - hasPair: whether a row has two texts, `first` and `second`; else one, `text`.
  public static func sentences(
    _ tokenizer: TokenizerDefinition, tokensMax: Int = 16, prefix: Int = 0, hasPair: Bool = false,
    precision: ModelFixtures.Precision = .int8,
    width: Int = 16, seed: UInt64 = 3
  ) throws -> ModelDefinition {
    var random = SplitMix64(seed: seed)
    let compiled = try Tokenizer(tokenizer)
    let names = hasPair ? ["first", "second"] : ["text"]
    var graph = ModelGraph(
      task: .regression,
      values: [
        .init(name: "row", columns: names.count), .init(name: "texts", type: ValueType(.text, [names.count])),
      ], nodes: [], outputs: [], tensors: [], textInput: 1, tokenizer: compiled)
    func value(_ name: String, _ type: ValueType) -> Int {
      graph.values.append(.init(name: name, type: type))
      return graph.values.count - 1
    }
    func tensor(_ shape: [Int], scale: Float = 1, isWeights: Bool = false) -> Int {
      let floats = (0..<shape.reduce(1, *)).map { _ in random.nextFloat() * scale }
      let storage: WeightTensor.Storage =
        isWeights && precision == .int8
        ? .int8(floats.map { Int8($0 / scale * 127) }, scales: .init(repeating: scale / 127, count: shape[0]))
        : .float32(floats)
      graph.tensors.append(WeightTensor(name: "tensor \(graph.tensors.count)", shape: shape, storage: storage))
      return graph.tensors.count - 1
    }
    func node(_ name: String, _ operation: any GraphOperation, _ inputs: [Int], _ outputs: [Int]) -> Int {
      graph.nodes.append(Node(name: name, inputs: inputs, outputs: outputs, operation: operation))
      return outputs[0]
    }
    let perToken = ValueType(.float32, [width], per: .token)
    let index = ValueType(.int32, [1], per: .token)
    let (ids, types) = (value("ids", index), value("types", index))
    _ = node(
      "tokens", Tokenize(column: 0, second: hasPair ? 1 : nil, tokensMax: tokensMax), [1], [ids, types])
    let tables: [(Embedding, Int)] = [
      (Embedding(table: tensor([compiled.idCount, width])), ids),
      (Embedding(table: tensor([2, width])), types),
      (Embedding(table: tensor([tokensMax, width]), index: .position), ids),
    ]
    var sum: Int?
    for (index, (operation, input)) in tables.enumerated() {
      let embedded = node("embedding \(index)", operation, [input], [value("embedded \(index)", perToken)])
      sum = sum.map { node("sum \(index)", Add(), [$0, embedded], [value("sum \(index)", perToken)]) } ?? embedded
    }
    let layer = Dense(
      weights: tensor([3 * width, width], scale: 0.3, isWeights: true), bias: tensor([3 * width], scale: 0.1),
      activation: .identity)
    let parts = node(
      "parts", layer, [sum ?? 0], [value("parts", ValueType(.float32, [3 * width], per: .token))])
    var attention = SelfAttention(heads: 2)
    if prefix > 0 { attention.prefix = .init(keys: tensor([prefix, width]), values: tensor([prefix, width])) }
    let attended = node("attention", attention, [parts], [value("attended", perToken)])
    let pooled = node("pool", Pool(.mean), [attended], [value("pooled", ValueType(columns: width))])
    let embedding = node("normalise", Normalise(), [pooled], [value("embedding", ValueType(columns: width))])
    graph.outputs = [.init(name: "embedding", value: embedding, kind: .number)]
    return ModelDefinition(
      schema: FeatureSchema(features: names.map { Feature(name: $0, kind: .text, missing: .impute) }, target: "y"),
      graph: graph, labels: [])
  }
}
