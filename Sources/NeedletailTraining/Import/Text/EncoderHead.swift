internal import NeedletailCore
internal import NeedletailEngine

/// Adds what turns the tokens of a text into an answer.
struct EncoderHead {
  let configuration: EncoderConfiguration
  /// How tokens become a vector where the model has no head.
  let pooling: SentenceModules?

  /// Graph and labels.
  ///
  /// - Parameters:
  ///   - state: value of the body, per token.
  ///   - spans: value of what each token covers.
  /// - Throws: `TrainingError` that names a tensor or a field which does not fit.
  func finish(
    _ graph: consuming EncoderGraph, from state: Int, spans: Int, _ tensors: inout EncoderTensors
  ) throws(TrainingError) -> (graph: ModelGraph, labels: [String]) {
    switch configuration.head {
    case .none: return (try embedding(graph, state), [])
    case .sequenceClassification: return try classification(graph, state, &tensors)
    case .tokenClassification: return try entities(graph, state, spans, &tensors)
    case .questionAnswering: return (try answer(graph, state, spans, &tensors), [])
    }
  }

  /// Entities that an answer has room for.
  static let entitiesMax = 64
  /// Tokens of an answer, as in the pipeline of transformers.
  static let answerTokensMax = 15

  /// Words of one kind that stand together, by the classes of their tokens.
  private func entities(
    _ graph: consuming EncoderGraph, _ state: Int, _ spans: Int, _ tensors: inout EncoderTensors
  ) throws(TrainingError) -> (graph: ModelGraph, labels: [String]) {
    let logits = try addScores(
      "classifier", configuration.labels.isEmpty ? nil : configuration.labels.count, from: state, to: &graph, &tensors)
    let type = ValueType(.float32, [graph.columns(of: logits)], per: .token)
    let probabilities = graph.add(Softmax(), AnswerNames.probabilities, from: [logits], type)
    let labels = configuration.labels.isEmpty ? (0..<type.columns).map { "LABEL_\($0)" } : configuration.labels
    let tags = EntityTags(labels)
    let value = graph.add(
      Entities(tags: tags.tags, entitiesMax: Self.entitiesMax), "entities", from: [probabilities, spans],
      ValueType(columns: 4 * Self.entitiesMax))
    return (graph.finish(entities: value), tags.kinds)
  }

  /// The part of the second text that answers the first.
  private func answer(
    _ graph: consuming EncoderGraph, _ state: Int, _ spans: Int, _ tensors: inout EncoderTensors
  ) throws(TrainingError) -> ModelGraph {
    let logits = try addScores("qa_outputs", 2, from: state, to: &graph, &tensors)
    let value = graph.add(
      AnswerSpan(sequence: 1, tokensMax: Self.answerTokensMax), "answer", from: [logits, spans], ValueType(columns: 3))
    return graph.finish(numbers: value, as: AnswerNames.answer)
  }

  /// Adds the last layer.
  ///
  /// - Parameter count: how many scores it writes; nil: as many as the tensor has rows.
  private func addScores(
    _ name: String, _ count: Int?, from input: Int, to graph: inout EncoderGraph, _ tensors: inout EncoderTensors
  ) throws(TrainingError) -> Int {
    let weights = try tensors.matrix("\(name).weight", rows: count, columns: configuration.width, isHead: true)
    let bias = try tensors.vector("\(name).bias", count: weights.rows, isHead: true)
    return graph.addDense(name, from: input, weights: weights.floats, bias: bias)
  }

  private func embedding(_ graph: consuming EncoderGraph, _ state: Int) throws(TrainingError) -> ModelGraph {
    guard let pooling else {
      throw .importing(
        "expected modules.json, or --pooling mean, cls or max: without a head only pooled tokens are an answer, found neither"
      )
    }
    let mode: Pool.Mode =
      switch pooling.pooling {
      case .mean: .mean
      case .first: .first
      case .largest: .max
      }
    var value = graph.add(Pool(mode), "pooled", from: [state], ValueType(columns: configuration.width))
    if pooling.isNormalised {
      value = graph.add(Normalise(), AnswerNames.embedding, from: [value], ValueType(columns: configuration.width))
    }
    return graph.finish(numbers: value, as: AnswerNames.embedding)
  }

  /// Layers between the first token and the scores, whose tensors stand in the body or beside it.
  static func classificationNames(
    _ architecture: EncoderConfiguration.Architecture
  ) -> (layer: String, isHead: Bool, activation: Dense.Activation, scores: String) {
    switch architecture {
    case .bert: ("pooler.dense", false, .tanh, "classifier")
    case .distilBERT: ("pre_classifier", true, .relu, "classifier")
    case .roberta: ("classifier.dense", true, .tanh, "classifier.out_proj")
    }
  }

  /// The first token stands for the text. Each architecture has another layer between it and the scores.
  private func classification(
    _ graph: consuming EncoderGraph, _ state: Int, _ tensors: inout EncoderTensors
  ) throws(TrainingError) -> (graph: ModelGraph, labels: [String]) {
    let width = configuration.width
    let first = graph.add(Pool(.first), "first token", from: [state], ValueType(columns: width))
    let names = Self.classificationNames(configuration.architecture)
    let layer = try tensors.matrix("\(names.layer).weight", rows: width, columns: width, isHead: names.isHead).floats
    let layerBias = try tensors.vector("\(names.layer).bias", count: width, isHead: names.isHead)
    let hidden = graph.addDense(names.layer, from: first, weights: layer, bias: layerBias, names.activation)
    let declared = configuration.labels.isEmpty ? nil : configuration.labels.count
    let logits = try addScores(names.scores, declared, from: hidden, to: &graph, &tensors)
    let count = graph.columns(of: logits)
    let labels = configuration.labels.isEmpty ? (0..<count).map { "LABEL_\($0)" } : configuration.labels
    // As transformers reads a configuration that does not say it.
    switch configuration.problem ?? (count == 1 ? .regression : .oneLabel) {
    case .regression: return (graph.finish(numbers: logits, as: AnswerNames.number), [])
    case .oneLabel:
      guard count > 1 else {
        throw .importing(
          "config.json: problem_type: expected regression for one label, found single_label_classification")
      }
      return (graph.finish(logits: logits), labels)
    case .manyLabels: return (graph.finish(independent: logits), labels)
    }
  }
}

/// What the labels of token classes say of entities: `B-PER` begins one of kind `PER`, `I-PER` goes on, `O` is none. A label
/// without a prefix is a kind whose tokens belong together.
struct EntityTags: Equatable {
  /// One for each label.
  private(set) var tags: [Entities.Tag] = []
  /// Names of the kinds.
  private(set) var kinds: [String] = []

  init(_ labels: [String]) {
    for label in labels {
      guard label != "O" else {
        tags.append(.init(kind: nil))
        continue
      }
      let hasPrefix = label.hasPrefix("B-") || label.hasPrefix("I-")
      let kind = hasPrefix ? String(label.dropFirst(2)) : label
      let place = kinds.firstIndex(of: kind) ?? kinds.count
      if place == kinds.count { kinds.append(kind) }
      tags.append(.init(kind: place, begins: label.hasPrefix("B-")))
    }
  }
}
