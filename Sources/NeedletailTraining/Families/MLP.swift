internal import Glibc
internal import NeedletailCore
internal import NeedletailEngine

/// A multilayer perceptron: fully connected layers, trained by mini-batches.
///
/// The same data, settings and seed give the same weights on the same machine, on any number of threads.
struct MLP: ModelFamily {
  let name = "mlp"
  let summary = "neural network of fully connected layers, for classes and numbers."
  let tasks: Set<ModelGraph.Task> = [.classification, .regression]
  let usesValidationRows = true
  let usesWeights = true
  let usesCheckpoints = true
  let gainsFromInt8 = true
  let modelSettings = [
    Setting(
      "hidden", .list(.integer(1...65_536)), .list([.integer(128), .integer(64)]), "Units of each hidden layer."),
    Setting(
      "activation", .choice(["relu", "tanh", "gelu", "logistic"]), .text("relu"), "After each hidden layer."),
    Setting(
      "dropout", .number(0...0.95), .number(0), "Share of hidden units switched off at random while training."),
    Setting(
      "batch_norm", .flag, .flag(false),
      "Normalises the sums of each hidden layer by their batch; folded into the layers when training ends."),
    Setting(
      "embedding", .integer(0...1024), .integer(0),
      "Numbers that stand for each level of a category with more levels, learned and folded into the first layer; 0: a "
        + "weight for each unit and level."),
  ]
  let trainingSettings = [
    Setting("epochs", .integer(1...1_000_000), .integer(100), "Passes over the training rows at most."),
    Setting("batch_size", .integer(1...1_000_000), .integer(32), "Rows that a step learns from."),
    Setting("optimiser", .choice(["adam", "adamw", "sgd"]), .text("adamw"), "How gradients become steps."),
    Setting("learning_rate", .number(1e-12...1000), .number(0.001), "Size of a step."),
    Setting(
      "schedule", .choice(["constant", "cosine", "plateau"]), .text("cosine"),
      "How the learning rate goes over the epochs; plateau lowers it where the validation loss gets no better."),
    Setting("warmup_epochs", .integer(0...1_000_000), .integer(0), "Epochs in which the learning rate rises from 0."),
    Setting(
      "plateau_patience", .integer(0...1_000_000), .integer(5),
      "Epochs without a better validation loss that schedule: plateau waits for."),
    Setting(
      "plateau_factor", .number(0.001...0.999), .number(0.5), "Factor by which it then lowers the learning rate."),
    Setting(
      "threads", .integer(0...64), .integer(0), "Threads that multiply large matrices; 0: one for each processor."),
    Setting("momentum", .number(0...0.9999), .number(0.9), "Share of the last step that sgd repeats."),
    Setting("weight_decay", .number(0...100), .number(0.01), "Pulls weights (not biases) towards zero."),
    RowWeights.setting,
    Setting("gradient_clip", .number(0...1e9), .number(5), "Largest norm of a step's gradient; 0: any."),
    Setting(
      "checkpoint_seconds", .integer(1...86_400), .integer(30), "Time between two saves of the state, for --resume."),
    Setting(
      "patience", .integer(0...1_000_000), .integer(20),
      "Epochs without a better validation loss before it stops; the best weights are kept. 0: never."),
  ]

  func searchSettings(_ table: SearchTable) -> [SearchSetting] {
    func sizes(_ units: Int...) -> Document { .list(units.map { .integer($0) }) }
    let embeddings = SearchSetting.choice("model.embedding", [.integer(0), .integer(8), .integer(32)])
    return [
      .choice(
        "model.hidden", [sizes(128, 64), sizes(64), sizes(256), sizes(64, 64), sizes(256, 128), sizes(128, 64, 32)]),
      .choice("model.activation", [.text("relu"), .text("gelu"), .text("tanh")]),
      .number("model.dropout", 0...0.5, first: 0),
      .choice("model.batch_norm", [.flag(false), .flag(true)]),
      .logarithmic("training.learning_rate", 3e-4...0.02, first: 0.001),
      .logarithmic("training.weight_decay", 1e-5...0.3, first: 0.01),
      .choice("training.batch_size", (table.rows < 5000 ? [32, 16, 64, 128] : [128, 64, 256]).map { .integer($0) }),
    ] + (table.hasCategories ? [embeddings] : [])
  }

  func tunedSettings(_ table: SearchTable) -> [(path: String, value: Document)] {
    [("training.epochs", .integer(60)), ("training.patience", .integer(10))]
  }

  func fit(_ context: FitContext<CodedRows>) throws(TrainingError) -> any FittedModel {
    let training = context.training
    let patience = training["patience"].integer ?? 0
    guard patience == 0 || context.validation.count > 0 else {
      throw .fit(
        "training.patience: expected validation rows to stop by, found none; set split.validation or patience: 0")
    }
    guard training["schedule"].text != "plateau" || context.validation.count > 0 else {
      throw .fit("training.schedule: expected validation rows for plateau, found none; set split.validation")
    }
    let isRegression = context.task == .regression
    let shares = try RowWeights.shares(context)
    let scale = isRegression ? TargetScale(context.train.targets, shares: shares) : TargetScale(offset: 0, scale: 1)
    let shape = shape(context)
    guard !shape.hasNorm || min(training["batch_size"].integer ?? 32, context.train.count) > 1 else {
      throw .fit("training.batch_size: expected at least 2 rows for model.batch_norm, found 1")
    }
    let network = Network(
      shape, batchRowsMax: max(training["batch_size"].integer ?? 32, 256),
      threads: TreeLimits.threads(training["threads"].integer ?? 0))
    var random = RandomSource(seed: context.seed, purpose: "weights")
    let inputs = context.train.inputs
    let idle = (0..<inputs.numbers.columns).filter { column in
      (0..<inputs.rowCount).allSatisfy { inputs.numbers[$0, column] == 0 }
    }
    let idleLevels = inputs.categories.map { category in
      let used = Set(category.codes)
      return category.columns.indices.map { $0 - category.columns.lowerBound }.filter { !used.contains(Int32($0)) }
    }
    network.initialise(&random, idleInputs: idle, idleLevels: idleLevels)

    var loop = TrainingLoop(network: network, context: context, scale: scale)
    let outcome = try loop.run()
    return FittedMLP(
      layers: network.exportLayers(scale: scale, rows: inputs), activation: shape.activation,
      isRegression: isRegression, notes: [outcome])
  }

  private func shape(_ context: FitContext<CodedRows>) -> Network.Shape {
    let inputs = context.train.inputs
    let width = context.model["embedding"].integer ?? 0
    return Network.Shape(
      numbers: inputs.numbers.columns,
      categories: inputs.categories.map { ($0.columns.count, $0.columns.count > width ? width : 0) },
      hidden: context.model["hidden"].elements.compactMap(\.integer),
      outputs: context.task == .regression ? 1 : context.classCount,
      activation: Self.activation(context.model["activation"].text),
      hasNorm: context.model["batch_norm"].flag ?? false, isRegression: context.task == .regression)
  }

  private static func activation(_ name: String?) -> Dense.Activation {
    switch name {
    case "tanh": .tanh
    case "gelu": .gelu
    case "logistic": .logistic
    default: .relu
    }
  }
}

/// Scale of a regression's targets. They are learned at mean 0 and deviation 1, and the exported last layer undoes it.
struct TargetScale {
  let offset: Double
  let scale: Double

  init(offset: Double, scale: Double) {
    self.offset = offset
    self.scale = scale
  }

  /// - Parameter shares: weights of the targets, adding up to 1.
  init(_ targets: [Double], shares: [Double]) {
    let mean = zip(targets, shares).reduce(0) { $0 + $1.0 * $1.1 }
    let variance = zip(targets, shares).reduce(0) { $0 + $1.1 * ($1.0 - mean) * ($1.0 - mean) }
    self.init(offset: mean, scale: variance > 0 ? variance.squareRoot() : 1)
  }
}

struct FittedMLP: FittedModel {
  /// Weights [outputs, inputs] and bias of every layer.
  let layers: [(weights: Matrix, bias: [Float])]
  let activation: Dense.Activation
  let isRegression: Bool
  let notes: [String]

  func export(into graph: inout GraphBuilder, input: Int) -> OutputHead {
    var value = input
    for (index, layer) in layers.enumerated() {
      let isLast = index == layers.count - 1
      value = graph.addDense(
        name: isLast ? "output" : "hidden\(index + 1)", from: value, weights: layer.weights, bias: layer.bias,
        activation: isLast ? .identity : activation)
    }
    return isRegression ? .number(value) : .logits(value)
  }
}
