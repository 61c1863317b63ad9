internal import CNeedletailTraining
internal import Glibc
internal import NeedletailCore
internal import NeedletailEngine

/// Epochs over mini-batches. The validation rows decide which weights are kept, and when to stop.
struct TrainingLoop {
  private let network: Network
  private let context: FitContext<CodedRows>
  private let epochs: Int
  private let batchRows: Int
  private var schedule: LearningRate
  private let clip: Double
  private let patience: Int
  private let dropout: Float
  private var optimiser: Optimiser
  private var order: [Int]
  private var shuffler: RandomSource
  private var dropper: RandomSource?
  private var best: BestEpoch
  /// Reports of the epochs so far, which a checkpoint keeps.
  private var reports: [EpochReport] = []
  private let train: LearningTargets
  private let validation: LearningTargets
  private var batchTargets: [Double]
  private var batchWeights: [Float]

  init(network: Network, context: FitContext<CodedRows>, scale: TargetScale) {
    let training = context.training
    self.network = network
    self.context = context
    epochs = training["epochs"].integer ?? 100
    batchRows = min(training["batch_size"].integer ?? 32, context.train.count)
    schedule = LearningRate(training, epochs: epochs)
    clip = training["gradient_clip"].number ?? 0
    patience = training["patience"].integer ?? 0
    dropout = Float(context.model["dropout"].number ?? 0)
    optimiser = Optimiser(
      rule: Optimiser.Rule(rawValue: training["optimiser"].text ?? "") ?? .adamw,
      momentum: Float(training["momentum"].number ?? 0), weightDecay: Float(training["weight_decay"].number ?? 0),
      parameterCount: network.learningCount)
    order = Array(0..<context.train.count)
    shuffler = RandomSource(seed: context.seed, purpose: "batches")
    dropper = RandomSource(seed: context.seed, purpose: "dropout")
    best = BestEpoch(parameterCount: network.parameters.count)
    let classWeights = RowWeights.ofClasses(context)
    let weights = RowWeights.of(context.train, classWeights)
    // The mean weight of a training row is 1, so that a learning rate fits all weights.
    let unit = weights.isEmpty ? 1 : weights.reduce(0) { $0 + Double($1) } / Double(weights.count)
    train = LearningTargets(context.train.targets.map { ($0 - scale.offset) / scale.scale }, weights, unit: unit)
    validation = LearningTargets(
      context.validation.targets.map { ($0 - scale.offset) / scale.scale },
      RowWeights.of(context.validation, classWeights), unit: unit)
    batchTargets = [Double](repeating: 0, count: max(batchRows, network.batchRowsMax))
    batchWeights = [Float](repeating: 1, count: batchTargets.count)
  }

  /// Trains the network, which then holds the weights with the smallest validation loss.
  ///
  /// - Returns: what happened, for people.
  /// - Throws: `TrainingError` where the loss or a gradient is not finite, or the user stops the training.
  mutating func run() throws(TrainingError) -> String {
    if let state = context.checkpoints?.resumed { try resume(state) }
    let first = reports.count + 1
    for report in reports { try context.progress(report) }
    if first <= epochs {
      for epoch in first...epochs {
        try run(epoch)
        if patience > 0, epoch - best.epoch >= patience {
          network.parameters.copy(from: best.parameters)
          return "stopped early at epoch \(epoch), best was \(best.epoch)"
        }
        try keep(epoch)
      }
    }
    if best.epoch > 0 { network.parameters.copy(from: best.parameters) }
    return best.epoch > 0 ? "\(epochs) epochs, best was \(best.epoch)" : "\(epochs) epochs"
  }

  private mutating func run(_ epoch: Int) throws(TrainingError) {
    let loss = try runEpoch(epoch)
    let validation = validate()
    if let validation {
      guard validation.loss.isFinite else { throw diverged("the validation loss", validation.loss, epoch) }
      schedule.observe(validation.loss)
      best.take(epoch, validation, network.parameters)
    }
    var report = EpochReport(
      epoch: epoch, epochCount: epochs, loss: loss, validationLoss: validation?.loss,
      validationMetric: validation?.metric, metricName: network.isRegression ? "R²" : "accuracy",
      bestEpoch: best.epoch, bestMetric: best.metric)
    report.firstLayerShare = firstLayerShare
    reports.append(report)
    try context.progress(report)
  }

  /// Size of the first layer's gradients of the last batch beside those of the last layer: the root of their mean square.
  private var firstLayerShare: Double? {
    guard let first = network.layers.first, let last = network.layers.last, network.layers.count > 1 else { return nil }
    func size(_ layer: Network.Layer) -> Double {
      // The padding behind the outputs adds nothing.
      let squares = network.kernels.pointee.square_sum(
        network.gradient.start + layer.weights, layer.inputs * layer.stride)
      return (squares / Double(max(layer.inputs * layer.outputs, 1))).squareRoot()
    }
    let divisor = size(last)
    // Nothing can be said of a loss that is as good as 0.
    return divisor > 1e-12 && first.inputs > 0 ? size(first) / divisor : nil
  }

  private mutating func runEpoch(_ epoch: Int) throws(TrainingError) -> Double {
    shuffler.shuffle(&order)
    let batches = (order.count + batchRows - 1) / batchRows
    var total = 0.0
    var start = 0
    var batch = 0
    while start < order.count {
      let rows = min(batchRows, order.count - start)
      batch += 1
      // One row has no deviation that it could be normalised by.
      if rows == 1, network.shape.hasNorm { break }
      gather(context.train.inputs, train, order[start..<(start + rows)])
      network.forward(rows: rows, isTraining: true, dropout: dropout, random: &dropper)
      let loss = network.loss(targets: batchTargets, weights: batchWeights, rows: rows).sum
      guard loss.isFinite else { throw diverged("the loss", loss, epoch, batch: batch) }
      network.backward(rows: rows, dropout: dropout)
      try clipGradient(epoch, batch)
      let rate = schedule.rate(epoch: epoch, part: Double(batch) / Double(batches))
      optimiser.update(network, learningRate: Float(rate))
      total += loss
      start += rows
    }
    return total / train.total
  }

  /// Copies rows into the network's batch.
  private mutating func gather(_ inputs: CodedRows, _ targets: LearningTargets, _ rows: ArraySlice<Int>) {
    let (columns, stride) = (inputs.numbers.columns, network.inputStride)
    let destination = network.input
    inputs.numbers.elements.withUnsafeBufferPointer { source in
      guard let base = source.baseAddress else { return }
      var place = destination
      for row in rows {
        place.update(from: base + row * columns, count: columns)
        place += stride
      }
    }
    let width = inputs.categories.count
    for (index, category) in inputs.categories.enumerated() {
      var place = network.codes + index
      for row in rows {
        place.pointee = category.codes[row]
        place += width
      }
    }
    var position = 0
    for row in rows {
      batchTargets[position] = targets.values[row]
      batchWeights[position] = targets.weights[row]
      position += 1
    }
  }

  /// Scales the gradient down to the largest norm allowed.
  private func clipGradient(_ epoch: Int, _ batch: Int) throws(TrainingError) {
    let gradient = network.gradient
    let norm = network.kernels.pointee.square_sum(gradient.start, network.learningCount).squareRoot()
    guard norm.isFinite else { throw diverged("the gradient", norm, epoch, batch: batch) }
    guard clip > 0, norm > clip else { return }
    let factor = Float(clip / norm)
    for i in 0..<network.learningCount { gradient.start[i] *= factor }
  }

  /// Loss and accuracy (or R²) on the validation rows; nil without validation rows.
  private mutating func validate() -> (loss: Double, metric: Double)? {
    let count = validation.values.count
    guard count > 0, validation.total > 0 else { return nil }
    var sum = 0.0
    var correct = 0
    var none: RandomSource?
    var start = 0
    let all = Array(0..<count)
    while start < count {
      let rows = min(network.batchRowsMax, count - start)
      gather(context.validation.inputs, validation, all[start..<(start + rows)])
      network.forward(rows: rows, random: &none)
      let part = network.loss(targets: batchTargets, weights: batchWeights, rows: rows)
      sum += part.sum
      correct += part.correct
      start += rows
    }
    return validation.figures(sum: sum, correct: correct, isRegression: network.isRegression)
  }

  private func diverged(_ what: String, _ value: Double, _ epoch: Int, batch: Int? = nil) -> TrainingError {
    .diverged(what, value, epoch: epoch, batch: batch, learningRate: schedule.highest)
  }

  // MARK: - checkpoints

  /// Saves the state where it is time to, and stops where the user asks for it.
  private func keep(_ epoch: Int) throws(TrainingError) {
    guard let checkpoints = context.checkpoints, checkpoints.isDue, epoch < epochs else { return }
    try checkpoints.save(state)
    if checkpoints.isStopping { throw .interrupted("stopped after epoch \(epoch) of \(epochs)") }
  }

  private var state: [UInt8] {
    var writer = ByteWriter()
    writer.add(network.parameters)
    best.write(&writer)
    optimiser.write(&writer)
    schedule.write(&writer)
    for word in shuffler.words + (dropper?.words ?? []) { writer.add(word) }
    for row in order { writer.add(UInt64(row)) }
    writer.add(reports)
    return writer.bytes
  }

  private mutating func resume(_ state: [UInt8]) throws(TrainingError) {
    var reader = ByteReader(state[...])
    guard read(&reader), reader.isAtEnd else {
      throw .fit("checkpoint: expected the state of a network of this shape, found another")
    }
  }

  private mutating func read(_ reader: inout ByteReader) -> Bool {
    guard reader.fill(network.parameters), best.read(&reader), optimiser.read(&reader), schedule.read(&reader) else {
      return false
    }
    let words = (0..<8).compactMap { _ in reader.number() }
    guard words.count == 8, let order = reader.order(count: order.count) else { return false }
    shuffler = RandomSource(words: Array(words[..<4]))
    dropper = RandomSource(words: Array(words[4...]))
    self.order = order
    guard let reports = reader.reports(epochs: epochs, metricName: network.isRegression ? "R²" : "accuracy") else {
      return false
    }
    self.reports = reports
    return best.epoch <= reports.count
  }
}

/// The learning rate of each step.
struct LearningRate {
  private enum Schedule {
    case constant
    /// Half a cosine, down to a hundredth: small last steps let the weights converge.
    case cosine
    /// Lowered by a factor after so many epochs whose validation loss is not better by a ten-thousandth, as PyTorch's
    /// `ReduceLROnPlateau` does it.
    case plateau(patience: Int, factor: Double)
  }

  /// The rate of the run file.
  let highest: Double
  private let epochs: Int
  private let warmupEpochs: Int
  private let schedule: Schedule
  // State of a plateau.
  private var factor = 1.0
  private var bestLoss = Double.infinity
  private var badEpochs = 0

  /// Least part of an improvement that counts.
  private static let threshold = 1e-4

  /// - Parameter training: the section of the run file.
  init(_ training: Document, epochs: Int) {
    highest = training["learning_rate"].number ?? 0.001
    self.epochs = epochs
    warmupEpochs = min(training["warmup_epochs"].integer ?? 0, epochs)
    schedule =
      switch training["schedule"].text {
      case "cosine": .cosine
      case "plateau":
        .plateau(
          patience: training["plateau_patience"].integer ?? 5, factor: training["plateau_factor"].number ?? 0.5)
      default: .constant
      }
  }

  /// - Parameters:
  ///   - epoch: its number, from 1.
  ///   - part: part of the epoch's steps that are done with this one, up to 1.
  func rate(epoch: Int, part: Double) -> Double {
    if epoch <= warmupEpochs { return highest * (Double(epoch - 1) + part) / Double(warmupEpochs) }
    switch schedule {
    case .constant: return highest
    case .plateau: return highest * factor
    case .cosine:
      let count = epochs - warmupEpochs
      guard count > 1 else { return highest }
      let progress = Double(epoch - warmupEpochs - 1) / Double(count - 1)
      return highest * (0.01 + 0.99 * 0.5 * (1 + cos(Double.pi * progress)))
    }
  }

  /// Takes the validation loss of an epoch.
  mutating func observe(_ loss: Double) {
    guard case .plateau(let patience, let step) = schedule else { return }
    if loss < bestLoss * (1 - Self.threshold) {
      bestLoss = loss
      badEpochs = 0
      return
    }
    badEpochs += 1
    guard badEpochs > patience else { return }
    factor *= step
    badEpochs = 0
  }

  func write(_ writer: inout ByteWriter) {
    writer.add(factor)
    writer.add(bestLoss)
    writer.add(UInt64(badEpochs))
  }

  mutating func read(_ reader: inout ByteReader) -> Bool {
    guard let factor = reader.double(), let bestLoss = reader.double(), let badEpochs = reader.count() else {
      return false
    }
    (self.factor, self.bestLoss, self.badEpochs) = (factor, bestLoss, badEpochs)
    return true
  }
}
