internal import NeedletailCore
internal import NeedletailEngine

/// What of an encoder learns, and how: the section `model` of a run file of the family ``Encoder``.
struct EncoderRecipe: Equatable {
  enum Mode: String, CaseIterable {
    /// Every parameter learns.
    case full
    /// The body stays as it is; the layers behind it learn.
    case frozen
    /// Products of two narrow matrices are added to weights of the body and learn, with the layers behind the body. Hu et
    /// al., "LoRA: low-rank adaptation of large language models" (2021).
    case lora
    /// Narrow layers inside the layers of the body, and their norms, learn with the layers behind the body. Houlsby et al.,
    /// "Parameter-efficient transfer learning for NLP" (2019).
    case adapters
    /// Keys and values of places in front of the tokens of every text learn, in each layer of the body, with the layers
    /// behind it. Li and Liang, "Prefix-tuning" (2021); without the network that they draw them from, as in Liu et al.,
    /// "P-tuning v2" (2022).
    case prefix
  }

  /// How the tokens of a text become one vector.
  enum Pooling: String, CaseIterable {
    case mean
    /// The first token, and the architecture's own layer behind it.
    case first = "cls"
  }

  /// Weights of a layer that a product of narrow matrices is added to.
  enum Target: String, CaseIterable {
    case query, key, value
    /// The layer behind the attention.
    case output
    /// The two wide layers.
    case inner, outer
  }

  /// Layers of the body that narrow layers stand behind, in front of the sum with what the layer's part reads.
  enum AdapterPlace: String, CaseIterable {
    /// Behind the attention.
    case output
    /// Behind the two wide layers. Pfeiffer et al., "AdapterFusion" (2021), need no other.
    case outer
  }

  /// Two layers, few columns between them: down to these, an activation, and up again, added to what the first reads.
  struct Bottleneck: Equatable {
    var size: Int
    var activation: Dense.Activation
    var places: [AdapterPlace]
  }

  static let activations: [String: Dense.Activation] = ["gelu": .gelu, "relu": .relu, "tanh": .tanh]

  var mode: Mode
  var pooling: Pooling
  /// Rows of the first narrow matrix.
  var rank: Int
  /// Its product counts alpha / rank times.
  var alpha: Float
  var targets: [Target]
  var bottleneck: Bottleneck
  /// Places in front of the tokens with ``Mode/prefix``.
  var prefixTokens: Int
  /// Share of numbers that are switched off at random while training.
  var dropout: Float
  var checkpointsLayers: Bool

  /// - Parameters:
  ///   - model: the section of the run file.
  ///   - pooling: what the folder says, where the run file leaves it open.
  init(_ model: Document, training: Document, pooling: SentenceModules.Pooling?) throws(TrainingError) {
    mode = Mode(rawValue: model["mode"].text ?? "") ?? .full
    switch model["pooling"].text.flatMap(Pooling.init(rawValue:)) {
    case let asked?: self.pooling = asked
    case nil:
      switch pooling {
      case .mean: self.pooling = .mean
      case .first, nil: self.pooling = .first
      case .largest:
        throw .fit("model.pooling: expected mean or cls, because the folder pools by max, which cannot be trained")
      }
    }
    let lora = model["lora"]
    rank = lora["rank"].integer ?? 8
    alpha = Float(lora["alpha"].number ?? 16)
    let named = lora["targets"].elements.compactMap { $0.text.flatMap(Target.init(rawValue:)) }
    targets = Target.allCases.filter(named.contains)
    guard mode != .lora || !targets.isEmpty else {
      throw .fit("model.lora.targets: expected at least one of the layers, found none")
    }
    let adapters = model["adapters"]
    let places = adapters["targets"].elements.compactMap { $0.text.flatMap(AdapterPlace.init(rawValue:)) }
    bottleneck = Bottleneck(
      size: adapters["size"].integer ?? 64,
      activation: adapters["activation"].text.flatMap { Self.activations[$0] } ?? .gelu,
      places: AdapterPlace.allCases.filter(places.contains))
    guard mode != .adapters || !places.isEmpty else {
      throw .fit("model.adapters.targets: expected at least one of the layers, found none")
    }
    prefixTokens = model["prefix"]["tokens"].integer ?? 16
    dropout = Float(model["dropout"].number ?? 0)
    checkpointsLayers = training["gradient_checkpointing"].flag ?? false
  }

  /// Places in front of the tokens; 0 without.
  var prefix: Int { mode == .prefix ? prefixTokens : 0 }

  /// Columns between narrow matrices or layers; 0 without.
  var narrowColumns: Int {
    switch mode {
    case .lora: rank
    case .adapters: bottleneck.size
    case .full, .frozen, .prefix: 0
    }
  }

  static let settings: [Setting] = [
    Setting(
      "base", .text, isRequired: true,
      "Hugging Face folder of the encoder that it starts from: BERT, DistilBERT, RoBERTa or sentence-transformers."),
    Setting(
      "mode", .choice(Mode.allCases.map(\.rawValue)), .text(Mode.full.rawValue),
      "What learns: full, all of it; frozen, the layers behind the body; lora, those and narrow matrices added to the "
        + "body's; adapters, those and narrow layers in the body, which every answer computes; prefix, those and what "
        + "every token attends to in front of the text."),
    Setting(
      "pooling", .choice(["auto"] + Pooling.allCases.map(\.rawValue)), .text("auto"),
      "Vector of a text: the mean of its tokens, or the first token (cls) and the architecture's own layer; auto: as the "
        + "folder says, else cls."),
    Setting(
      "tokens_max", .integer(1...Limits.rowTokensMax),
      "Tokens that longer texts are cut off to, in serving too; left out: as many as the folder says."),
    Setting("dropout", .number(0...0.9), .number(0.1), "Share of numbers switched off at random while training."),
    Setting(
      "lora",
      .section([
        Setting("rank", .integer(1...1024), .integer(8), "Rows of the first narrow matrix."),
        Setting("alpha", .number(1e-6...1e6), .number(16), "The product counts alpha / rank times."),
        Setting(
          "targets", .list(.choice(Target.allCases.map(\.rawValue))),
          .list([.text(Target.query.rawValue), .text(Target.value.rawValue)]),
          "Layers that get one: query, key, value, output (behind the attention), inner, outer."),
      ]), "With mode: lora. Merged into the weights when training ends."),
    Setting(
      "adapters",
      .section([
        Setting("size", .integer(1...4096), .integer(64), "Columns between the two layers of an adapter."),
        Setting("activation", .choice(["gelu", "relu", "tanh"]), .text("gelu"), "What stands between them."),
        Setting(
          "targets", .list(.choice(AdapterPlace.allCases.map(\.rawValue))),
          .list(AdapterPlace.allCases.map { .text($0.rawValue) }),
          "Layers that get one behind them: output (behind the attention), outer."),
      ]), "With mode: adapters. They stay in the model that is served."),
    Setting(
      "prefix",
      .section([
        Setting("tokens", .integer(1...1024), .integer(16), "Places in front of the tokens of a text, in each layer.")
      ]), "With mode: prefix. They stay in the model that is served."),
  ]
}
