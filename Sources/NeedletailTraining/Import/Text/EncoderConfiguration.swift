internal import NeedletailCore
internal import NeedletailEngine

/// What `config.json` of a Hugging Face folder says of an encoder: its sizes, and what stands on top of it.
package struct EncoderConfiguration: Equatable {
  /// Names and order of the tensors.
  enum Architecture: String {
    case bert
    case distilBERT = "distilbert"
    case roberta
  }

  /// What the model answers, as its class in transformers is named.
  enum Head: Equatable {
    /// The body alone: its tokens are pooled.
    case none
    case sequenceClassification
    case tokenClassification
    case questionAnswering
  }

  /// What the numbers of a classification of sequences mean.
  enum Problem: Equatable {
    case regression
    case oneLabel
    /// Each label for itself.
    case manyLabels
  }

  var architecture: Architecture
  var head: Head
  var problem: Problem?
  var vocabulary: Int
  var width: Int
  var layers: Int
  var heads: Int
  var innerWidth: Int
  var activation: Dense.Activation
  var positions: Int
  /// Row of the position table that the first token reads.
  var positionOffset: Int
  /// Rows of the table of token types; 0: there is none.
  var types: Int
  var epsilon: Float
  /// Labels by their index; empty: the file names none.
  var labels: [String]

  /// Tokens of the longest sequence.
  var tokensMax: Int { positions - positionOffset }

  /// - Throws: `TrainingError` that names the field, what was expected and what was found.
  package init(_ bytes: [UInt8]) throws(TrainingError) {
    try self.init(ForeignField(value: ForeignJSON.read(bytes), path: ""))
  }

  init(_ document: ForeignField) throws(TrainingError) {
    let type = try document.required("model_type")
    switch try type.text {
    case "bert": architecture = .bert
    case "distilbert": architecture = .distilBERT
    case "roberta", "xlm-roberta", "camembert": architecture = .roberta
    case let other:
      throw type.fault("bert, distilbert, roberta, xlm-roberta or camembert", found: other.quotedForMessage)
    }
    head = try Self.head(document)
    problem = try Self.problem(document)
    labels = try Self.labels(document)
    let isDistilled = architecture == .distilBERT
    func size(_ key: String, _ distilled: String, _ largest: Int) throws(TrainingError) -> Int {
      try document.required(isDistilled ? distilled : key).integer(in: 1...largest)
    }
    vocabulary = try size("vocab_size", "vocab_size", Limits.columnsMax)
    width = try size("hidden_size", "dim", Self.widthMax)
    layers = try size("num_hidden_layers", "n_layers", Self.layersMax)
    heads = try size("num_attention_heads", "n_heads", width)
    innerWidth = try size("intermediate_size", "hidden_dim", Limits.columnsMax)
    positions = try size("max_position_embeddings", "max_position_embeddings", Limits.columnsMax)
    guard width % heads == 0 else {
      throw try document.required(isDistilled ? "dim" : "hidden_size").fault(
        "a multiple of \(heads) heads", found: "\(width)")
    }
    positionOffset = 0
    if architecture == .roberta {
      positionOffset = 1 + (try document.optional("pad_token_id")?.integer(in: 0...(positions - 1)) ?? 1)
      guard positionOffset < positions else {
        throw try document.required("max_position_embeddings").fault(
          "more than \(positionOffset)", found: "\(positions)")
      }
    }
    types = isDistilled ? 0 : try document.optional("type_vocab_size")?.integer(in: 0...Limits.columnsMax) ?? 2
    let epsilon = try isDistilled ? 1e-12 : document.optional("layer_norm_eps")?.number ?? 1e-12
    guard epsilon > 0, epsilon < 1, Float(epsilon) > 0 else {
      throw try document.required("layer_norm_eps").fault("a number between 0 and 1", found: "\(epsilon)")
    }
    self.epsilon = Float(epsilon)
    activation = try Self.activation(document.optional(isDistilled ? "activation" : "hidden_act"))
    try Self.refuseVariants(document)
  }

  /// Widest known encoders have 4,096.
  private static let widthMax = 1 << 15
  private static let layersMax = 256

  /// What changes answers and is not computed here.
  private static func refuseVariants(_ document: ForeignField) throws(TrainingError) {
    if let kind = try document.optional("position_embedding_type"), try kind.text != "absolute" {
      throw kind.fault("\"absolute\"", found: try kind.text.quotedForMessage)
    }
    for key in ["is_decoder", "add_cross_attention", "is_encoder_decoder"] {
      if let flag = try document.optional(key), try flag.boolean { throw flag.fault("false", found: "true") }
    }
    if let pruned = try document.optional("pruned_heads"), try !pruned.fields.isEmpty {
      throw pruned.fault("no heads", found: "some")
    }
  }

  private static func activation(_ field: ForeignField?) throws(TrainingError) -> Dense.Activation {
    guard let field else { return .gelu }
    switch try field.text {
    case "gelu": return .gelu
    case "relu": return .relu
    case "tanh": return .tanh
    case let other: throw field.fault("gelu, relu or tanh", found: other.quotedForMessage)
    }
  }

  private static func head(_ document: ForeignField) throws(TrainingError) -> Head {
    guard let field = try document.optional("architectures") else { return .none }
    let names = try field.texts
    guard names.count == 1 else { throw field.fault("one architecture", found: "\(names.count)") }
    for (ending, head) in [
      ("Model", Head.none), ("ForSequenceClassification", .sequenceClassification),
      ("ForTokenClassification", .tokenClassification), ("ForQuestionAnswering", .questionAnswering),
      // The body of a model that was trained to fill gaps.
      ("ForMaskedLM", .none), ("ForPreTraining", .none),
    ] where names[0].hasSuffix(ending) {
      return head
    }
    throw field.fault(
      "a name that ends in Model, ForSequenceClassification, ForTokenClassification or ForQuestionAnswering",
      found: names[0].quotedForMessage)
  }

  private static func problem(_ document: ForeignField) throws(TrainingError) -> Problem? {
    guard let field = try document.optional("problem_type") else { return nil }
    switch try field.text {
    case "regression": return .regression
    case "single_label_classification": return .oneLabel
    case "multi_label_classification": return .manyLabels
    case let other:
      throw field.fault(
        "regression, single_label_classification or multi_label_classification", found: other.quotedForMessage)
    }
  }

  /// Labels of `id2label`, whose keys are 0, 1, 2 and so on.
  private static func labels(_ document: ForeignField) throws(TrainingError) -> [String] {
    guard let field = try document.optional("id2label") else { return [] }
    let entries = try field.fields
    guard entries.count <= Limits.labelsMax else {
      throw field.fault("at most \(Limits.labelsMax) labels", found: "\(entries.count)")
    }
    var labels = [String?](repeating: nil, count: entries.count)
    for (key, label) in entries {
      guard let index = Int(key), labels.indices.contains(index), labels[index] == nil else {
        throw label.fault("keys 0 to \(entries.count - 1), each once", found: key.quotedForMessage)
      }
      labels[index] = try label.text
    }
    return labels.compactMap(\.self)
  }
}
