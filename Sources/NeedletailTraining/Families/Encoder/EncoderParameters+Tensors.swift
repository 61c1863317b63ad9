internal import NeedletailCore
internal import NeedletailEngine

/// Parameters of an encoder by the names that they have in a Hugging Face folder.
extension EncoderParameters {
  private struct Named {
    let name: String
    let slot: Slot
    let isVector: Bool
  }

  /// The tensors of the body; names are without the body's prefix.
  private func body(_ architecture: EncoderConfiguration.Architecture, _ tensors: EncoderTensors) -> [Named] {
    var named: [Named] = [
      .init(name: "embeddings.word_embeddings.weight", slot: layout.words, isVector: false),
      .init(name: "embeddings.position_embeddings.weight", slot: layout.positions, isVector: false),
    ]
    if let types = layout.types {
      named.append(.init(name: "embeddings.token_type_embeddings.weight", slot: types, isVector: false))
    }
    func add(_ name: String, _ norm: Norm) {
      let isOld = tensors.has("\(name).gamma")
      named.append(.init(name: "\(name).\(isOld ? "gamma" : "weight")", slot: norm.scale, isVector: true))
      named.append(.init(name: "\(name).\(isOld ? "beta" : "bias")", slot: norm.shift, isVector: true))
    }
    func add(_ name: String, _ weights: Slot, _ bias: Slot) {
      named.append(.init(name: "\(name).weight", slot: weights, isVector: false))
      named.append(.init(name: "\(name).bias", slot: bias, isVector: true))
    }
    add("embeddings.LayerNorm", layout.tablesNorm)
    for (index, layer) in layout.layers.enumerated() {
      let names = EncoderLayerNames(architecture, index)
      let width = layer.output.weights.rows
      for (place, name) in [names.query, names.key, names.value].enumerated() {
        add(
          name, layer.parts.weights.rows(from: place * width, count: width),
          Slot(offset: layer.parts.bias.offset + place * width, rows: 1, columns: width))
      }
      add(names.output, layer.output.weights, layer.output.bias)
      add(names.attentionNorm, layer.firstNorm)
      add(names.inner, layer.inner.weights, layer.inner.bias)
      add(names.outer, layer.outer.weights, layer.outer.bias)
      add(names.outputNorm, layer.secondNorm)
    }
    return named
  }

  /// Reads the body, and the layer between the first token and the scores where the folder has one; else that is drawn,
  /// as are the scores.
  ///
  /// - Throws: `TrainingError` that names a tensor which does not fit the configuration, or which no part of it reads.
  func read(
    _ tensors: inout EncoderTensors, _ architecture: EncoderConfiguration.Architecture, _ random: inout RandomSource
  ) throws(TrainingError) {
    for named in body(architecture, tensors) {
      set(
        named.slot,
        named.isVector
          ? try tensors.vector(named.name, count: named.slot.count)
          : try tensors.matrix(named.name, rows: named.slot.rows, columns: named.slot.columns).floats)
    }
    try tensors.checkThatAllIsUsed(layers: EncoderBody.layers(of: architecture))
    if let hidden = layout.hidden {
      let names = EncoderHead.classificationNames(architecture)
      let weights = "\(names.layer).weight"
      if names.isHead ? tensors.hasHead(weights) : tensors.has(weights) {
        let (rows, columns) = (hidden.weights.rows, hidden.weights.columns)
        set(hidden.weights, try tensors.matrix(weights, rows: rows, columns: columns, isHead: names.isHead).floats)
        set(hidden.bias, try tensors.vector("\(names.layer).bias", count: rows, isHead: names.isHead))
      } else {
        draw(hidden, &random)
      }
    }
    draw(layout.scores, &random)
    beginAdapters(&random)
    beginBottlenecks(&random)
  }

  /// Deviation of weights that are drawn, as transformers draws them; biases are 0.
  private static let deviation = 0.02

  private func draw(_ layer: Linear, _ random: inout RandomSource) {
    set(layer.weights, (0..<layer.weights.count).map { _ in Float(random.normal() * Self.deviation) })
    set(layer.bias, [Float](repeating: 0, count: layer.bias.count))
  }

  /// What is added to the layers of the body: nothing, bottlenecks, or a prefix.
  private func additions(_ recipe: EncoderRecipe) -> [EncoderAddition] {
    func weights(_ bottleneck: Bottleneck?) -> EncoderAddition.Bottleneck? {
      bottleneck.map {
        EncoderAddition.Bottleneck(
          down: (floats($0.down.weights), floats($0.down.bias)), up: (floats($0.up.weights), floats($0.up.bias)),
          activation: recipe.bottleneck.activation)
      }
    }
    return layout.layers.map {
      EncoderAddition(
        output: weights($0.outputBottleneck), outer: weights($0.outerBottleneck),
        prefix: $0.prefix.map { (floats($0.keys), floats($0.values)) })
    }
  }

  /// The graph of what was learned, from texts to answers, low-rank matrices merged.
  ///
  /// - Parameters:
  ///   - folder: that the training began with.
  ///   - texts: texts of a row.
  ///   - scale: of the targets; nil for classes.
  /// - Throws: `TrainingError` where a tensor of the folder can no longer be read.
  func graph(
    _ folder: EncoderFolder, _ recipe: EncoderRecipe, texts: Int, scale: TargetScale?
  ) throws(TrainingError) -> ModelGraph {
    let configuration = folder.configuration
    var tensors = try folder.bodyTensors()
    if recipe.mode != .frozen {
      for named in body(configuration.architecture, tensors) { tensors.replace(named.name, by: floats(named.slot)) }
    }
    var graph = EncoderGraph(texts: texts, tokenizer: folder.tokenizer)
    let tokens = graph.addTokens()
    let body = EncoderBody(configuration: configuration, isPair: texts == 2, additions: additions(recipe))
    let state = try body.add(tokens, to: &graph, &tensors)
    let type = ValueType(columns: configuration.width)
    var value: Int
    if let hidden = layout.hidden {
      value = graph.add(Pool(.first), "first token", from: [state], type)
      value = graph.addDense(
        EncoderHead.classificationNames(configuration.architecture).layer, from: value,
        weights: floats(hidden.weights), bias: floats(hidden.bias),
        configuration.architecture == .distilBERT ? .relu : .tanh)
    } else {
      value = graph.add(Pool(.mean), "pooled", from: [state], type)
    }
    var (weights, bias) = (floats(layout.scores.weights), floats(layout.scores.bias))
    if let scale {
      weights = weights.map { Float(Double($0) * scale.scale) }
      bias = bias.map { Float(Double($0) * scale.scale + scale.offset) }
    }
    value = graph.addDense("scores", from: value, weights: weights, bias: bias)
    return scale == nil ? graph.finish(logits: value) : graph.finish(numbers: value, as: AnswerNames.number)
  }
}
