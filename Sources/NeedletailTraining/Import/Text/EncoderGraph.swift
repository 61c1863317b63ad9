internal import NeedletailCore
internal import NeedletailEngine

/// Grows the graph of an encoder node by node, from texts to what is answered.
///
/// The types of all values are said here; the check of the whole graph compares them with what the operations infer.
struct EncoderGraph {
  private(set) var values: [ModelGraph.Value]
  private(set) var nodes: [Node] = []
  private(set) var tensors: [WeightTensor] = []
  private let tokenizer: Tokenizer

  /// Index of the value that holds the texts of a row.
  private static let textInput = 1

  /// - Parameter texts: texts of a row: one, or two.
  init(texts: Int, tokenizer: Tokenizer) {
    values = [.init(name: "input", columns: texts), .init(name: "texts", type: ValueType(.text, [texts]))]
    self.tokenizer = tokenizer
  }

  func columns(of value: Int) -> Int { values[value].columns }

  /// Adds a node that writes one value.
  ///
  /// - Returns: index of that value.
  mutating func add(_ operation: any GraphOperation, _ name: String, from inputs: [Int], _ type: ValueType) -> Int {
    values.append(.init(name: name, type: type))
    nodes.append(Node(name: name, inputs: inputs, outputs: [values.count - 1], operation: operation))
    return values.count - 1
  }

  /// Values of a text's tokens.
  struct Tokens {
    var ids: Int
    var types: Int
    /// What each token covers.
    var spans: Int
  }

  /// Adds what makes tokens of the texts.
  mutating func addTokens() -> Tokens {
    let first = values.count
    addTokenizer(writing: [("token ids", 1), ("token types", 1), ("token spans", 4)])
    return Tokens(ids: first, types: first + 1, spans: first + 2)
  }

  /// Adds what makes token ids of the texts, where nothing asks for their types and what they cover.
  ///
  /// - Returns: the value of the ids.
  mutating func addTokenIds() -> Int {
    addTokenizer(writing: [("token ids", 1)])
    return values.count - 1
  }

  private mutating func addTokenizer(writing outputs: [(name: String, columns: Int)]) {
    let hasSecond = values[Self.textInput].columns == 2
    let first = values.count
    values += outputs.map { ModelGraph.Value(name: $0.name, type: ValueType(.int32, [$0.columns], per: .token)) }
    nodes.append(
      Node(
        name: "tokenize", inputs: [Self.textInput], outputs: Array(first..<values.count),
        operation: Tokenize(
          column: 0, second: hasSecond ? 1 : nil, tokensMax: tokenizer.tokensMax ?? Limits.rowTokensMax)))
  }

  /// Adds an fp32 tensor.
  mutating func addTensor(_ name: String, _ shape: [Int], _ floats: [Float]) -> Int {
    tensors.append(WeightTensor(name: name, shape: shape, storage: .float32(floats)))
    return tensors.count - 1
  }

  /// Adds a fully connected layer, per token or per row as what it reads.
  ///
  /// - Parameter weights: rows × columns of the input, row-major.
  mutating func addDense(
    _ name: String, from input: Int, weights: [Float], bias: [Float]?, _ activation: Dense.Activation = .identity
  ) -> Int {
    let rows = weights.count / columns(of: input)
    let matrix = addTensor("\(name).weight", [rows, columns(of: input)], weights)
    let added = bias.map { addTensor("\(name).bias", [rows], $0) }
    return add(
      Dense(weights: matrix, bias: added, activation: activation), name, from: [input],
      ValueType(.float32, [rows], per: values[input].type.domain))
  }

  mutating func addNorm(_ name: String, from input: Int, scale: [Float], bias: [Float], epsilon: Float) -> Int {
    let width = columns(of: input)
    let gain = addTensor("\(name).weight", [width], scale)
    let shift = addTensor("\(name).bias", [width], bias)
    return add(LayerNorm(scale: gain, bias: shift, epsilon: epsilon), name, from: [input], values[input].type)
  }

  mutating func addTable(
    _ name: String, from input: Int, _ index: Embedding.Index, offset: Int = 0, rows: Int, _ floats: [Float]
  ) -> Int {
    let width = floats.count / rows
    let table = addTensor("\(name).weight", [rows, width], floats)
    return add(
      Embedding(table: table, index: index, offset: offset), name, from: [input],
      ValueType(.float32, [width], per: .token))
  }

  mutating func addSum(_ name: String, _ first: Int, _ second: Int) -> Int {
    add(Add(), name, from: [first, second], values[first].type)
  }

  // MARK: - answers

  /// Ends the graph with numbers.
  consuming func finish(numbers value: Int, as name: String) -> ModelGraph {
    graph(.regression, [.init(name: name, value: value, kind: .number)])
  }

  /// Ends the graph with the probabilities of classes, and the class.
  consuming func finish(logits value: Int) -> ModelGraph {
    let probabilities = add(Softmax(), AnswerNames.probabilities, from: [value], values[value].type)
    let chosen = add(ArgMax(), "class", from: [probabilities], ValueType(columns: 1))
    return graph(
      .classification,
      [
        .init(name: AnswerNames.probabilities, value: probabilities, kind: .number),
        .init(name: "class", value: chosen, kind: .classIndex), .init(name: "label", value: chosen, kind: .classLabel),
      ])
  }

  /// Ends the graph with a probability for each label by itself.
  consuming func finish(independent value: Int) -> ModelGraph {
    let probabilities = add(Sigmoid(), AnswerNames.probabilities, from: [value], values[value].type)
    return graph(.classification, [.init(name: AnswerNames.probabilities, value: probabilities, kind: .number)])
  }

  /// Ends the graph with the kinds and places of entities.
  consuming func finish(entities value: Int) -> ModelGraph {
    graph(.classification, [.init(name: AnswerNames.entities, value: value, kind: .number)])
  }

  private func graph(_ task: ModelGraph.Task, _ outputs: [ModelGraph.Output]) -> ModelGraph {
    ModelGraph(
      task: task, values: values, nodes: nodes, outputs: outputs, tensors: tensors, textInput: Self.textInput,
      tokenizer: tokenizer)
  }
}
