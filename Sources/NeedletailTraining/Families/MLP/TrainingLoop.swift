internal import NeedletailCore

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// Epochs over mini-batches, watched by the validation rows.
struct TrainingLoop {
  private let network: Network
  private let context: FitContext
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

  init(network: Network, context: FitContext, scale: TargetScale) {
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

  /// - Returns: what happened, for people. The network then holds the best weights.
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
    // Down to a hundredth, so that the last epochs still settle.
    let progress = Double(epoch - 1) / Double(epochs - 1)
    return learningRate * (0.01 + 0.99 * 0.5 * (1 + cos(Double.pi * progress)))
  }

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

  /// Loss and accuracy (or R²) on the validation rows; nil if there are none.
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
