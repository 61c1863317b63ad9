internal import Glibc
internal import NeedletailCore
internal import NeedletailEngine

/// A multilayer perceptron: fully connected layers, trained by mini-batches.
///
/// The same data, settings and seed give the same weights on the same machine.
struct MLP: ModelFamily {
  let name = "mlp"
  let summary = "neural network of fully connected layers, for classes and numbers."
  let tasks: Set<ModelGraph.Task> = [.classification, .regression]
  let usesValidationRows = true
  let gainsFromInt8 = true
  let modelSettings = [
    Setting(
      "hidden", .list(.integer(1...65_536)), .list([.integer(128), .integer(64)]), "Units of each hidden layer."),
    Setting(
      "activation", .choice(["relu", "tanh", "gelu", "logistic"]), .text("relu"), "After each hidden layer."),
    Setting(
      "dropout", .number(0...0.95), .number(0), "Share of hidden units switched off at random while training."),
  ]
  let trainingSettings = [
    Setting("epochs", .integer(1...1_000_000), .integer(100), "Passes over the training rows at most."),
    Setting("batch_size", .integer(1...1_000_000), .integer(32), "Rows that a step learns from."),
    Setting("optimiser", .choice(["adam", "adamw", "sgd"]), .text("adamw"), "How gradients become steps."),
    Setting("learning_rate", .number(1e-12...1000), .number(0.001), "Size of a step."),
    Setting(
      "schedule", .choice(["constant", "cosine"]), .text("cosine"), "How the learning rate goes over the epochs."),
    Setting("momentum", .number(0...0.9999), .number(0.9), "Share of the last step that sgd repeats."),
    Setting("weight_decay", .number(0...100), .number(0.01), "Pulls weights (not biases) towards zero."),
    Setting("gradient_clip", .number(0...1e9), .number(5), "Largest norm of a step's gradient; 0: any."),
    Setting(
      "patience", .integer(0...1_000_000), .integer(20),
      "Epochs without a better validation loss before it stops; the best weights are kept. 0: never."),
  ]

  func fit(_ context: FitContext<Matrix>) throws(TrainingError) -> any FittedModel {
    let training = context.training
    let patience = training["patience"].integer ?? 0
    guard patience == 0 || context.validation.count > 0 else {
      throw .fit(
        "training.patience: expected validation rows to stop by, found none; set split.validation or patience: 0")
    }
    let isRegression = context.task == .regression
    let scale = isRegression ? TargetScale(context.train.targets) : TargetScale(offset: 0, scale: 1)
    let hidden = context.model["hidden"].elements.compactMap(\.integer)
    let sizes = [context.train.inputs.columns] + hidden + [isRegression ? 1 : context.classCount]
    let activation = Self.activation(context.model["activation"].text)
    let network = Network(
      sizes: sizes, activation: activation, isRegression: isRegression,
      batchRowsMax: max(training["batch_size"].integer ?? 32, 256))
    var random = RandomSource(seed: context.seed, purpose: "weights")
    let inputs = context.train.inputs
    let idle = (0..<inputs.columns).filter { column in (0..<inputs.rows).allSatisfy { inputs[$0, column] == 0 } }
    network.initialise(&random, idleInputs: idle)

    var loop = TrainingLoop(network: network, context: context, scale: scale)
    let outcome = try loop.run()
    return FittedMLP(
      layers: network.exportLayers(scale: scale), activation: activation, isRegression: isRegression, notes: [outcome])
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

  init(_ targets: [Double]) {
    let mean = targets.reduce(0, +) / Double(targets.count)
    let variance = targets.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(targets.count)
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

/// Epochs over mini-batches. The validation rows decide which weights are kept, and when to stop.
struct TrainingLoop {
  private let network: Network
  private let context: FitContext<Matrix>
  private let epochs: Int
  private let batchRows: Int
  private let learningRate: Double
  private let isCosine: Bool
  private let clip: Double
  private let patience: Int
  private let dropout: Float
  private var optimiser: Optimiser
  private var order: [Int]
  private var shuffler: RandomSource
  private var dropper: RandomSource?
  private let trainTargets: [Double]
  private let validationTargets: [Double]
  private var batchTargets: [Double]

  init(network: Network, context: FitContext<Matrix>, scale: TargetScale) {
    let training = context.training
    self.network = network
    self.context = context
    epochs = training["epochs"].integer ?? 100
    batchRows = min(training["batch_size"].integer ?? 32, context.train.count)
    learningRate = training["learning_rate"].number ?? 0.001
    isCosine = training["schedule"].text == "cosine"
    clip = training["gradient_clip"].number ?? 0
    patience = training["patience"].integer ?? 0
    dropout = Float(context.model["dropout"].number ?? 0)
    optimiser = Optimiser(
      rule: Optimiser.Rule(rawValue: training["optimiser"].text ?? "") ?? .adamw,
      momentum: Float(training["momentum"].number ?? 0), weightDecay: Float(training["weight_decay"].number ?? 0),
      parameterCount: network.parameters.count)
    order = Array(0..<context.train.count)
    shuffler = RandomSource(seed: context.seed, purpose: "batches")
    dropper = RandomSource(seed: context.seed, purpose: "dropout")
    trainTargets = context.train.targets.map { ($0 - scale.offset) / scale.scale }
    validationTargets = context.validation.targets.map { ($0 - scale.offset) / scale.scale }
    batchTargets = [Double](repeating: 0, count: max(batchRows, network.batchRowsMax))
  }

  /// Trains the network, which then holds the weights with the smallest validation loss.
  ///
  /// - Returns: what happened, for people.
  /// - Throws: `TrainingError` where the loss or a gradient is not finite.
  mutating func run() throws(TrainingError) -> String {
    let best = FloatBuffer(count: network.parameters.count)
    var bestLoss = Double.infinity
    var bestMetric: Double?
    var bestEpoch = 0
    for epoch in 1...epochs {
      let loss = try runEpoch(epoch)
      let validation = validate()
      if let validation {
        guard validation.loss.isFinite else { throw diverged("the validation loss", validation.loss, epoch) }
        if validation.loss < bestLoss {
          bestLoss = validation.loss
          bestMetric = validation.metric
          bestEpoch = epoch
          best.copy(from: network.parameters)
        }
      }
      context.progress(
        EpochReport(
          epoch: epoch, epochCount: epochs, loss: loss, validationLoss: validation?.loss,
          validationMetric: validation?.metric, metricName: network.isRegression ? "R²" : "accuracy",
          bestEpoch: bestEpoch, bestMetric: bestMetric))
      if patience > 0, epoch - bestEpoch >= patience {
        network.parameters.copy(from: best)
        return "stopped early at epoch \(epoch), best was \(bestEpoch)"
      }
    }
    if bestEpoch > 0 { network.parameters.copy(from: best) }
    return bestEpoch > 0 ? "\(epochs) epochs, best was \(bestEpoch)" : "\(epochs) epochs"
  }

  private mutating func runEpoch(_ epoch: Int) throws(TrainingError) -> Double {
    shuffler.shuffle(&order)
    let rate = learningRateOf(epoch)
    var total = 0.0
    var start = 0
    var batch = 0
    while start < order.count {
      let rows = min(batchRows, order.count - start)
      batch += 1
      gather(context.train.inputs, trainTargets, order[start..<(start + rows)])
      network.forward(rows: rows, dropout: dropout, random: &dropper)
      let loss = network.loss(targets: batchTargets, rows: rows).sum
      guard loss.isFinite else { throw diverged("the loss", loss, epoch, batch: batch) }
      network.backward(rows: rows, dropout: dropout)
      try clipGradient(epoch, batch)
      optimiser.update(network, learningRate: Float(rate))
      total += loss
      start += rows
    }
    return total / Double(order.count)
  }

  private func learningRateOf(_ epoch: Int) -> Double {
    guard isCosine, epochs > 1 else { return learningRate }
    // Half a cosine, down to a hundredth: small last steps let the weights converge.
    let progress = Double(epoch - 1) / Double(epochs - 1)
    return learningRate * (0.01 + 0.99 * 0.5 * (1 + cos(Double.pi * progress)))
  }

  /// Copies rows into the network's batch.
  private mutating func gather(_ inputs: Matrix, _ targets: [Double], _ rows: ArraySlice<Int>) {
    let columns = inputs.columns
    let destination = network.input
    inputs.elements.withUnsafeBufferPointer { source in
      guard let base = source.baseAddress else { return }
      for (position, row) in rows.enumerated() {
        (destination + position * columns).update(from: base + row * columns, count: columns)
      }
    }
    for (position, row) in rows.enumerated() { batchTargets[position] = targets[row] }
  }

  /// Scales the gradient down to the largest norm allowed.
  private func clipGradient(_ epoch: Int, _ batch: Int) throws(TrainingError) {
    let gradient = network.gradient
    var squares = 0.0
    for i in 0..<gradient.count { squares += Double(gradient.start[i] * gradient.start[i]) }
    let norm = squares.squareRoot()
    guard norm.isFinite else { throw diverged("the gradient", norm, epoch, batch: batch) }
    guard clip > 0, norm > clip else { return }
    let factor = Float(clip / norm)
    for i in 0..<gradient.count { gradient.start[i] *= factor }
  }

  /// Loss and accuracy (or R²) on the validation rows; nil without validation rows.
  private mutating func validate() -> (loss: Double, metric: Double)? {
    let count = validationTargets.count
    guard count > 0 else { return nil }
    var sum = 0.0
    var correct = 0
    var none: RandomSource?
    var start = 0
    let all = Array(0..<count)
    while start < count {
      let rows = min(network.batchRowsMax, count - start)
      gather(context.validation.inputs, validationTargets, all[start..<(start + rows)])
      network.forward(rows: rows, random: &none)
      let part = network.loss(targets: batchTargets, rows: rows)
      sum += part.sum
      correct += part.correct
      start += rows
    }
    let loss = sum / Double(count)
    guard network.isRegression else { return (loss, Double(correct) / Double(count)) }
    let mean = validationTargets.reduce(0, +) / Double(count)
    let spread = validationTargets.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(count)
    return (loss, spread > 0 ? 1 - loss / spread : 0)
  }

  private func diverged(_ what: String, _ value: Double, _ epoch: Int, batch: Int? = nil) -> TrainingError {
    let place = batch.map { ", batch \($0)" } ?? ""
    return .fit(
      "epoch \(epoch)\(place): expected \(what) to be finite, found \(value); "
        + "lower training.learning_rate (now \(Figures.short(learningRate))) or set training.gradient_clip")
  }
}

/// Turns gradients into steps. It keeps one or two numbers for every parameter.
struct Optimiser {
  enum Rule: String {
    /// Adam (Kingma and Ba, 2015). Weight decay adds to the gradient.
    case adam
    /// AdamW (Loshchilov and Hutter, 2019). Weight decay acts on the weights themselves.
    case adamw
    /// Stochastic gradient descent with heavy-ball momentum.
    case sgd
  }

  let rule: Rule
  let momentum: Float
  let weightDecay: Float
  /// Momentum of every parameter.
  private let first: FloatBuffer
  /// Mean square of every gradient; empty for sgd.
  private let second: FloatBuffer
  private var step = 0

  init(rule: Rule, momentum: Float, weightDecay: Float, parameterCount: Int) {
    self.rule = rule
    self.momentum = momentum
    self.weightDecay = weightDecay
    first = FloatBuffer(count: parameterCount)
    second = FloatBuffer(count: rule == .sgd ? 0 : parameterCount)
  }

  /// Takes one step with all parameters of a network. Biases do not decay.
  mutating func update(_ network: Network, learningRate: Float) {
    step += 1
    for layer in network.layers {
      let weightCount = layer.inputs * layer.outputs
      update(network, at: layer.weights, count: weightCount, learningRate: learningRate, decay: weightDecay)
      update(network, at: layer.bias, count: layer.outputs, learningRate: learningRate, decay: 0)
    }
  }

  private func update(_ network: Network, at offset: Int, count: Int, learningRate: Float, decay: Float) {
    let parameters = network.parameters.start + offset
    let gradient = network.gradient.start + offset
    let first = first.start + offset
    switch rule {
    case .sgd:
      for i in 0..<count {
        first[i] = momentum * first[i] + gradient[i] + decay * parameters[i]
        parameters[i] -= learningRate * first[i]
      }
    case .adam, .adamw:
      let second = second.start + offset
      let beta1: Float = 0.9
      let beta2: Float = 0.999
      let correction1 = Float(1 - pow(0.9, Double(step)))
      let correction2 = Float((1 - pow(0.999, Double(step))).squareRoot())
      let rate = learningRate / correction1
      let coupled = rule == .adam ? decay : 0
      let shrink = rule == .adamw ? 1 - learningRate * decay : 1
      for i in 0..<count {
        let g = gradient[i] + coupled * parameters[i]
        first[i] = beta1 * first[i] + (1 - beta1) * g
        second[i] = beta2 * second[i] + (1 - beta2) * g * g
        parameters[i] = shrink * parameters[i] - rate * first[i] / (second[i].squareRoot() / correction2 + 1e-8)
      }
    }
  }
}
