internal import NeedletailCore
internal import NeedletailEngine

/// Names of the tensors of one layer, without `.weight` and `.bias`.
struct EncoderLayerNames {
  let query, key, value, output, attentionNorm, inner, outer, outputNorm: String

  init(_ architecture: EncoderConfiguration.Architecture, _ layer: Int) {
    let start = "\(EncoderBody.layers(of: architecture))\(layer)."
    switch architecture {
    case .bert, .roberta:
      query = start + "attention.self.query"
      key = start + "attention.self.key"
      value = start + "attention.self.value"
      output = start + "attention.output.dense"
      attentionNorm = start + "attention.output.LayerNorm"
      inner = start + "intermediate.dense"
      outer = start + "output.dense"
      outputNorm = start + "output.LayerNorm"
    case .distilBERT:
      query = start + "attention.q_lin"
      key = start + "attention.k_lin"
      value = start + "attention.v_lin"
      output = start + "attention.out_lin"
      attentionNorm = start + "sa_layer_norm"
      inner = start + "ffn.lin1"
      outer = start + "ffn.lin2"
      outputNorm = start + "output_layer_norm"
    }
  }
}

/// Adds the body of an encoder to a graph: tables, then layers of attention and of two dense layers, each with what it
/// read added to it and normalised. Devlin et al., "BERT" (2019); Liu et al., "RoBERTa" (2019); Sanh et al.,
/// "DistilBERT" (2019).
struct EncoderBody {
  let configuration: EncoderConfiguration
  /// Whether rows have two texts, whose tokens differ in their type.
  let isPair: Bool
  /// One a layer; empty: none has any.
  var additions: [EncoderAddition] = []

  /// What the names of the tensors of all layers begin with.
  static func layers(of architecture: EncoderConfiguration.Architecture) -> String {
    architecture == .distilBERT ? "transformer.layer." : "encoder.layer."
  }

  /// - Returns: the value of the last layer, per token.
  /// - Throws: `TrainingError` that names a tensor which does not fit the configuration.
  func add(
    _ tokens: EncoderGraph.Tokens, to graph: inout EncoderGraph, _ tensors: inout EncoderTensors
  ) throws(TrainingError) -> Int {
    var state = try addTables(tokens, to: &graph, &tensors)
    for layer in 0..<configuration.layers { state = try addLayer(layer, from: state, to: &graph, &tensors) }
    return state
  }

  private var width: Int { configuration.width }

  private func addTables(
    _ tokens: EncoderGraph.Tokens, to graph: inout EncoderGraph, _ tensors: inout EncoderTensors
  ) throws(TrainingError) -> Int {
    let words = try tensors.matrix(
      "embeddings.word_embeddings.weight", rows: configuration.vocabulary, columns: width)
    var positions = try tensors.matrix(
      "embeddings.position_embeddings.weight", rows: configuration.positions, columns: width)
    var types: [Float] = []
    if configuration.types > 0 {
      types = try tensors.matrix(
        "embeddings.token_type_embeddings.weight", rows: configuration.types, columns: width
      ).floats
    }
    // Texts that stand alone are all of type 0, whose row is added to each position once.
    let readsTypes = isPair && configuration.types > 1
    if !readsTypes, !types.isEmpty {
      for index in positions.floats.indices { positions.floats[index] += types[index % width] }
    }
    let word = graph.addTable("words", from: tokens.ids, .value, rows: words.rows, words.floats)
    let position = graph.addTable(
      "positions", from: tokens.ids, .position, offset: configuration.positionOffset, rows: positions.rows,
      positions.floats)
    var sum = word
    if readsTypes {
      let kind = graph.addTable("types", from: tokens.types, .value, rows: configuration.types, types)
      sum = graph.addSum("words and types", sum, kind)
    }
    sum = graph.addSum("words and positions", sum, position)
    return try addNorm("embeddings.LayerNorm", from: sum, to: &graph, &tensors)
  }

  private func addLayer(
    _ layer: Int, from input: Int, to graph: inout EncoderGraph, _ tensors: inout EncoderTensors
  ) throws(TrainingError) -> Int {
    let names = EncoderLayerNames(configuration.architecture, layer)
    // One product in place of three: the weights of q, k and v one below the other.
    var (weights, biases): ([Float], [Float]) = ([], [])
    for name in [names.query, names.key, names.value] {
      weights += try tensors.matrix("\(name).weight", rows: width, columns: width).floats
      biases += try tensors.vector("\(name).bias", count: width)
    }
    let parts = graph.addDense("layer \(layer) q, k, v", from: input, weights: weights, bias: biases)
    let addition = additions.isEmpty ? EncoderAddition() : additions[layer]
    let name = "layer \(layer) attention"
    let operation = addition.attention(name, heads: configuration.heads, width: width, in: &graph)
    let attention = graph.add(operation, name, from: [parts], ValueType(.float32, [width], per: .token))
    var output = try addDense(names.output, from: attention, width, .identity, to: &graph, &tensors)
    if let own = addition.output { output = own.add(names.output, behind: output, to: &graph) }
    let first = graph.addSum("\(names.output) added", output, input)
    let middle = try addNorm(names.attentionNorm, from: first, to: &graph, &tensors)
    let inner = try addDense(
      names.inner, from: middle, configuration.innerWidth, configuration.activation, to: &graph, &tensors)
    var outer = try addDense(names.outer, from: inner, width, .identity, to: &graph, &tensors)
    if let own = addition.outer { outer = own.add(names.outer, behind: outer, to: &graph) }
    let second = graph.addSum("\(names.outer) added", outer, middle)
    return try addNorm(names.outputNorm, from: second, to: &graph, &tensors)
  }

  private func addDense(
    _ name: String, from input: Int, _ rows: Int, _ activation: Dense.Activation, to graph: inout EncoderGraph,
    _ tensors: inout EncoderTensors
  ) throws(TrainingError) -> Int {
    let weights = try tensors.matrix("\(name).weight", rows: rows, columns: graph.columns(of: input)).floats
    let bias = try tensors.vector("\(name).bias", count: rows)
    return graph.addDense(name, from: input, weights: weights, bias: bias, activation)
  }

  /// Files from before 2019 call scale and bias gamma and beta.
  private func addNorm(
    _ name: String, from input: Int, to graph: inout EncoderGraph, _ tensors: inout EncoderTensors
  ) throws(TrainingError) -> Int {
    let isOld = tensors.has("\(name).gamma")
    let scale = try tensors.vector("\(name).\(isOld ? "gamma" : "weight")", count: width)
    let bias = try tensors.vector("\(name).\(isOld ? "beta" : "bias")", count: width)
    return graph.addNorm(name, from: input, scale: scale, bias: bias, epsilon: configuration.epsilon)
  }
}
