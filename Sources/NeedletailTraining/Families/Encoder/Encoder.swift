internal import NeedletailCore
internal import NeedletailEngine

/// An encoder of the BERT family with layers for classes or a number behind it, fine-tuned on the CPU from a Hugging Face
/// folder.
///
/// The same data, settings and seed give the same weights on the same machine, on any number of threads. Low-rank matrices
/// are merged when training ends: what is served is the plain encoder. Bottlenecks become layers of what is served, and a prefix a part of its attention.
struct Encoder: ModelFamily {
  let name = "encoder"
  let summary = "BERT-like encoder of a Hugging Face folder, fine-tuned on one or two columns of text."
  let tasks: Set<ModelGraph.Task> = [.classification, .regression]
  let usesValidationRows = true
  let usesWeights = true
  let usesCheckpoints = true
  let takesText = true
  let needsText = true
  let gainsFromInt8 = true
  let isSearched = false
  let modelSettings = EncoderRecipe.settings
  let trainingSettings: [Setting] =
    [
      Setting(
        "epochs", .integer(1...1_000_000),
        "Passes over the training rows at most; left out: 4 with mode: full, 8 with lora, adapters and prefix, 40 with frozen."
      ),
      Setting("batch_size", .integer(1...1_000_000), .integer(32), "Rows that a step learns from."),
      Setting(
        "accumulation", .integer(1...1024), .integer(1),
        "Parts that a step's rows are computed in, one after the other: less memory for the same step."),
      Setting(
        "gradient_checkpointing", .flag, .flag(false),
        "Keeps what layers read and computes the rest again for the gradients: less memory, a third more time."),
      Setting("optimiser", .choice(["adam", "adamw", "sgd"]), .text("adamw"), "How gradients become steps."),
      Setting(
        "learning_rate", .number(1e-12...1000),
        "Size of a step; left out: 0.00005 with mode: full, 0.0005 with lora, 0.001 with adapters and frozen, "
          + "0.005 with prefix."),
    ] + StepSchedule.settings + [
      Setting(
        "threads", .integer(0...64), .integer(0),
        "Threads that share large products, 16 of them at most; 0: one for each processor."),
      Setting("momentum", .number(0...0.9999), .number(0.9), "Share of the last step that sgd repeats."),
      Setting("weight_decay", .number(0...100), .number(0.01), "Pulls weights (not biases and norms) towards zero."),
      RowWeights.setting,
      Setting("gradient_clip", .number(0...1e9), .number(1), "Largest norm of a step's gradient; 0: any."),
      Setting(
        "checkpoint_seconds", .integer(1...86_400), .integer(300), "Time between two saves of the state, for --resume."),
      Setting(
        "patience", .integer(0...1_000_000), .integer(3),
        "Epochs without a better validation loss before it stops; the best weights are kept. 0: never."),
    ]

  func check(_ configuration: RunConfiguration) throws(TrainingError) {
    let mode = EncoderRecipe.Mode(rawValue: configuration.document["model"]["mode"].text ?? "") ?? .full
    var idle: [(path: String, wanted: String)] = []
    if mode != .lora { idle.append(("model.lora", "mode: lora")) }
    if mode != .adapters { idle.append(("model.adapters", "mode: adapters")) }
    if mode != .prefix { idle.append(("model.prefix", "mode: prefix")) }
    if mode == .frozen { idle.append(("training.gradient_checkpointing", "a body that learns")) }
    for (path, wanted) in idle where configuration.isSet(path) {
      throw .configuration(
        configuration.location(of: path), "\(path): expected \(wanted) beside it, found mode: \(mode.rawValue)")
    }
  }

  func fit(_ context: FitContext<TextRows>) throws(TrainingError) -> any FittedModel {
    guard context.training["patience"].integer == 0 || context.validation.count > 0 else {
      throw .fit(
        "training.patience: expected validation rows to stop by, found none; set split.validation or patience: 0")
    }
    let isRegression = context.task == .regression
    let shares = try RowWeights.shares(context)
    let scale = isRegression ? TargetScale(context.train.targets, shares: shares) : nil
    let base = try self.base(context)
    let recipe = try EncoderRecipe(context.model, training: context.training, pooling: base.modules?.pooling)
    let configuration = base.configuration
    let outputs = isRegression ? 1 : context.classCount
    let parameters = EncoderParameters(configuration, recipe, outputs: outputs)
    var random = RandomSource(seed: context.seed, purpose: "weights")
    try Self.naming { () throws(TrainingError) in
      var tensors = try base.bodyTensors()
      try parameters.read(&tensors, configuration.architecture, &random)
    }

    let weights = RowWeights.of(context.train, RowWeights.ofClasses(context))
    let unit = weights.isEmpty ? 1 : weights.reduce(0) { $0 + Double($1) } / Double(weights.count)
    func part(_ samples: Samples<TextRows>, _ weights: [Float]) throws(TrainingError) -> EncoderLoop.Part {
      let texts = try TokenizedTexts(
        samples.inputs, base.tokenizer, positionOffset: configuration.positionOffset,
        typesMax: max(configuration.types, 1))
      let targets = samples.targets.map { target in scale.map { (target - $0.offset) / $0.scale } ?? target }
      return EncoderLoop.Part(texts: texts, targets: LearningTargets(targets, weights, unit: unit))
    }
    var train = try part(context.train, weights)
    var validation = try part(
      context.validation, RowWeights.of(context.validation, RowWeights.ofClasses(context)))
    let rows = EncoderLoop.partRows(context.training, rows: context.train.count)
    let extent = EncoderNetwork.Extent(
      rows: rows, tokens: max(train.texts.tokensMax(rows: rows), validation.texts.tokensMax(rows: rows)),
      longest: max(train.texts.longest, validation.texts.longest))
    let network = EncoderNetwork(
      configuration, recipe, parameters, extent: extent, outputs: outputs, isRegression: isRegression,
      threads: TreeLimits.threads(context.training["threads"].integer ?? 0))
    network.beginPrefix(train.texts)
    if recipe.mode == .frozen {
      train.vectors = network.vectors(of: train.texts)
      validation.vectors = network.vectors(of: validation.texts)
    }
    var loop = EncoderLoop(
      network, context, train: train, validation: validation,
      epochs: context.training["epochs"].integer ?? Self.epochs(recipe.mode),
      learningRate: context.training["learning_rate"].number ?? Self.learningRate(recipe.mode))
    let outcome = try loop.run()
    return FittedEncoder(
      graph: try Self.naming { () throws(TrainingError) in
        try parameters.graph(base, recipe, texts: context.train.inputs.columns, scale: scale)
      },
      efficiency: EncoderEfficiency(
        configuration, recipe, parameters.sizes, extent: extent, outputs: outputs, seconds: loop.seconds,
        epochs: loop.epochsRun),
      notes: [
        outcome,
        "mode \(recipe.mode.rawValue): \(Figures.count(parameters.sizes.learning)) of "
          + "\(Figures.count(parameters.sizes.served)) parameters learned",
      ])
  }

  static func epochs(_ mode: EncoderRecipe.Mode) -> Int {
    switch mode {
    case .full: 4
    case .lora, .adapters, .prefix: 8
    case .frozen: 40
    }
  }

  static func learningRate(_ mode: EncoderRecipe.Mode) -> Double {
    switch mode {
    case .full: 5e-5
    case .lora: 5e-4
    case .adapters, .frozen: 1e-3
    case .prefix: 5e-3
    }
  }

  /// The folder that the training begins with.
  private func base(_ context: FitContext<TextRows>) throws(TrainingError) -> EncoderFolder {
    let folder = ForeignFolder(context.path(context.model["base"].text ?? ""))
    return try Self.naming { () throws(TrainingError) in
      guard folder.isFolder, folder.has("config.json") else {
        throw .importing("\(folder.path): expected a Hugging Face folder with config.json, found none")
      }
      let tensors = try ModelTensors.read(folder)
      guard !tensors.has(StaticFolder.table) else {
        throw .importing("\(folder.path): expected an encoder, found static embeddings")
      }
      let asked = context.model["tokens_max"].integer
      let base = try EncoderFolder(folder, tensors, tokensMax: asked, tokensSetting: "model.tokens_max")
      guard context.train.inputs.columns == 1 || !base.tokenizer.definition.pair.isEmpty else {
        throw .importing("\(folder.path): expected a tokenizer that takes two texts, found one that takes one")
      }
      return base
    }
  }

  /// Puts the setting in front of what is wrong with the folder.
  private static func naming<Result>(
    _ body: () throws(TrainingError) -> Result
  ) throws(TrainingError) -> Result {
    do throws(TrainingError) { return try body() } catch {
      // What another setting asks for is no fault of the folder.
      if error.kind == .configuration { throw error }
      throw TrainingError(error.kind, "model.base: \(error.message)")
    }
  }
}

/// A fine-tuned encoder.
struct FittedEncoder: FittedModel {
  /// From texts to answers.
  let graph: ModelGraph
  let efficiency: EncoderEfficiency
  let notes: [String]

  var wholeGraph: ModelGraph? { graph }
  var cost: Document { efficiency.document }

  func export(into graph: inout GraphBuilder, input: Int) throws(TrainingError) -> OutputHead {
    throw .fit("encoder: expected to be served by itself, found other nodes")
  }
}

/// What a fine-tuning cost, and what the other modes would have taken.
struct EncoderEfficiency {
  /// One a mode.
  let document: Document

  init(
    _ configuration: EncoderConfiguration, _ recipe: EncoderRecipe, _ sizes: EncoderParameters.Sizes,
    extent: EncoderNetwork.Extent, outputs: Int, seconds: Double, epochs: Int
  ) {
    let modes = EncoderRecipe.Mode.allCases.map { mode in
      var other = recipe
      other.mode = mode
      if other.targets.isEmpty { other.targets = [.query, .value] }
      if other.bottleneck.places.isEmpty { other.bottleneck.places = EncoderRecipe.AdapterPlace.allCases }
      let isOwn = mode == recipe.mode
      let own = isOwn ? sizes : EncoderParameters.Sizes(configuration, other, outputs: outputs)
      var entries: [Document.Entry] = [
        .init("mode", .text(mode.rawValue)), .init("learning", .integer(own.learning)),
        .init("share", .number(Double(own.learning) / Double(own.served))),
        .init("memory_bytes", .integer(EncoderNetwork.bytes(configuration, other, own, extent: extent))),
        .init("serving_share", .number(Self.servingShare(configuration, other))),
      ]
      if isOwn {
        entries += [
          .init("epochs", .integer(epochs)), .init("seconds", .number(seconds)),
          .init("seconds_per_epoch", .number(seconds / Double(max(epochs, 1)))),
        ]
      }
      return Document.section(entries)
    }
    document = .section([.init("parameters", .integer(sizes.served)), .init("modes", .list(modes))])
  }

  /// Multiply-adds that a mode adds to each token of an answer, as a share of those of the body's layers.
  private static func servingShare(_ configuration: EncoderConfiguration, _ recipe: EncoderRecipe) -> Double {
    let (width, inner) = (configuration.width, configuration.innerWidth)
    let narrow = recipe.mode == .adapters ? recipe.bottleneck.size * recipe.bottleneck.places.count : 0
    let added = 2 * width * (narrow + recipe.prefix)
    return Double(added) / Double(width * (4 * width + 2 * inner))
  }
}
