internal import Glibc
internal import NeedletailCore

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
