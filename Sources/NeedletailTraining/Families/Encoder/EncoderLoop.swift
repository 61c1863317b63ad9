internal import CNeedletailTraining
internal import Glibc
internal import NeedletailBLAS
internal import NeedletailCore
internal import NeedletailCrypto
internal import NeedletailEngine

/// Epochs over texts. The validation rows decide which weights are kept, and when to stop.
struct EncoderLoop {
  private let network: EncoderNetwork
  private let context: FitContext<TextRows>
  private let epochs: Int
  private let batchRows: Int
  /// Rows that are computed at once; the derivatives of several add up to a step.
  private let partRows: Int
  private let schedule: StepSchedule
  private let clip: Double
  private let patience: Int
  private var optimiser: Optimiser
  private var order: [Int]
  private var shuffler: RandomSource
  private let dropoutSeed: UInt64
  private var best: BestEpoch
  private var reports: [EpochReport] = []
  private let train: Part
  private let validation: Part
  /// Time of the epochs, those before a resumption among them.
  private(set) var seconds = 0.0
  /// Hash of what the training begins with: weights, and the tokens that the folder's tokenizer makes of the texts.
  private let beginning: [UInt8]

  /// Rows that are learned from, or that steer.
  struct Part {
    let texts: TokenizedTexts
    /// Vectors of the texts, where the body stays as it is.
    var vectors: [Float] = []
    let targets: LearningTargets
  }

  /// Rows of a part of a step.
  static func partRows(_ training: Document, rows: Int) -> Int {
    let batch = min(training["batch_size"].integer ?? 32, rows)
    let parts = training["accumulation"].integer ?? 1
    return (batch + parts - 1) / parts
  }

  init(
    _ network: EncoderNetwork, _ context: FitContext<TextRows>, train: Part, validation: Part, epochs: Int,
    learningRate: Double
  ) {
    let training = context.training
    (self.network, self.context, self.train, self.validation) = (network, context, train, validation)
    self.epochs = epochs
    batchRows = min(training["batch_size"].integer ?? 32, context.train.count)
    partRows = Self.partRows(training, rows: context.train.count)
    let steps = epochs * ((context.train.count + batchRows - 1) / batchRows)
    schedule = StepSchedule(training, highest: learningRate, steps: steps)
    clip = training["gradient_clip"].number ?? 0
    patience = validation.targets.values.isEmpty ? 0 : training["patience"].integer ?? 0
    optimiser = Optimiser(
      rule: Optimiser.Rule(rawValue: training["optimiser"].text ?? "") ?? .adamw,
      momentum: Float(training["momentum"].number ?? 0), weightDecay: Float(training["weight_decay"].number ?? 0),
      parameterCount: network.parameters.learningCount)
    order = Array(0..<context.train.count)
    shuffler = RandomSource(seed: context.seed, purpose: "batches")
    var dropper = RandomSource(seed: context.seed, purpose: "dropout")
    dropoutSeed = dropper.next()
    best = BestEpoch(parameterCount: network.parameters.learningCount)
    beginning = context.checkpoints == nil ? [] : Self.hash(network.parameters.parameters, train.texts.ids)
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
        let began = Instant.now()
        try run(epoch)
        seconds += Double(Instant.now().microseconds(since: began)) / 1e6
        if patience > 0, epoch - best.epoch >= patience {
          keepBest()
          return "stopped early at epoch \(epoch), best was \(best.epoch)"
        }
        try save(epoch)
      }
    }
    if best.epoch > 0 { keepBest() }
    return best.epoch > 0 ? "\(epochs) epochs, best was \(best.epoch)" : "\(epochs) epochs"
  }

  /// Epochs that ran, those before a resumption among them.
  var epochsRun: Int { reports.count }

  private static func hash(_ parameters: FloatBuffer, _ ids: [UInt32]) -> [UInt8] {
    var hash = SHA256()
    hash.update(UnsafeRawBufferPointer(start: parameters.start, count: parameters.count * MemoryLayout<Float>.stride))
    ids.withUnsafeBytes { hash.update($0) }
    return Array(hash.finalize())
  }

  private func keepBest() {
    network.parameters.parameters.start.update(from: best.parameters.start, count: best.parameters.count)
    network.parameters.mergeAdapters()
  }

  private mutating func run(_ epoch: Int) throws(TrainingError) {
    let loss = try runEpoch(epoch)
    let found = validate()
    if let found {
      guard found.loss.isFinite else { throw diverged("the validation loss", found.loss, epoch) }
      best.take(epoch, found, network.parameters.parameters)
    }
    let report = EpochReport(
      epoch: epoch, epochCount: epochs, loss: loss, validationLoss: found?.loss, validationMetric: found?.metric,
      metricName: network.isRegression ? "R²" : "accuracy", bestEpoch: best.epoch, bestMetric: best.metric)
    reports.append(report)
    try context.progress(report)
  }

  private mutating func runEpoch(_ epoch: Int) throws(TrainingError) -> Double {
    shuffler.shuffle(&order)
    let steps = (order.count + batchRows - 1) / batchRows
    let parameters = network.parameters
    var (total, start, step, part) = (0.0, 0, (epoch - 1) * steps, 0)
    while start < order.count {
      let rows = order[start..<min(start + batchRows, order.count)]
      step += 1
      parameters.clearGradient()
      for first in stride(from: rows.startIndex, to: rows.endIndex, by: partRows) {
        let own = rows[first..<min(first + partRows, rows.endIndex)]
        part += 1
        let key = SplitMix64.mix(dropoutSeed &+ UInt64(epoch) << 32 &+ UInt64(part))
        load(train, own, key: key)
        let loss = network.loss(
          targets: own.map { train.targets.values[$0] }, weights: own.map { train.targets.weights[$0] },
          stepRows: rows.count
        ).sum
        guard loss.isFinite else { throw diverged("the loss", loss, epoch, batch: step - (epoch - 1) * steps) }
        network.backward(key: key)
        total += loss
      }
      try clipGradient(epoch, step - (epoch - 1) * steps)
      optimiser.update(
        parameters.parameters, gradient: parameters.gradient, decaying: parameters.decayingCount,
        kernels: network.net, learningRate: Float(schedule.rate(step: step)))
      parameters.mergeAdapters()
      start += rows.count
    }
    return total / train.targets.total
  }

  /// Runs the network over some rows.
  private func load(_ part: Part, _ rows: ArraySlice<Int>, key: UInt64?) {
    if part.vectors.isEmpty {
      network.load(part.texts, rows: rows)
      network.runBody(key: key)
    } else {
      network.load(part.vectors, rows: rows)
    }
    network.runHead(key: key)
  }

  private func clipGradient(_ epoch: Int, _ batch: Int) throws(TrainingError) {
    let gradient = network.parameters.gradient
    let norm = network.net.pointee.square_sum(gradient.start, gradient.count).squareRoot()
    guard norm.isFinite else { throw diverged("the gradient", norm, epoch, batch: batch) }
    guard clip > 0, norm > clip else { return }
    BLAS.scale(gradient.start, count: gradient.count, by: Float(clip / norm))
  }

  /// Loss and metric of the validation rows; nil without any.
  private func validate() -> (loss: Double, metric: Double)? {
    let targets = validation.targets
    let count = targets.values.count
    guard count > 0, targets.total > 0 else { return nil }
    var (sum, correct) = (0.0, 0)
    let all = Array(0..<count)
    for start in stride(from: 0, to: count, by: partRows) {
      let rows = all[start..<min(start + partRows, count)]
      load(validation, rows, key: nil)
      let part = network.loss(
        targets: rows.map { targets.values[$0] }, weights: rows.map { targets.weights[$0] }, stepRows: rows.count)
      sum += part.sum
      correct += part.correct
    }
    return targets.figures(sum: sum, correct: correct, isRegression: network.isRegression)
  }

  private func diverged(_ what: String, _ value: Double, _ epoch: Int, batch: Int? = nil) -> TrainingError {
    .diverged(what, value, epoch: epoch, batch: batch, learningRate: schedule.highest)
  }

  // MARK: - checkpoints

  /// Saves the state where it is time to, and stops where the user asks for it.
  private func save(_ epoch: Int) throws(TrainingError) {
    guard let checkpoints = context.checkpoints, checkpoints.isDue, epoch < epochs else { return }
    try checkpoints.save(state)
    if checkpoints.isStopping { throw .interrupted("stopped after epoch \(epoch) of \(epochs)") }
  }

  private var state: [UInt8] {
    var writer = ByteWriter()
    writer.add(bytes: beginning)
    writer.add(seconds)
    // What learns stands first; the rest is as it was at the beginning.
    writer.add(network.parameters.parameters, first: network.parameters.learningCount)
    best.write(&writer)
    optimiser.write(&writer)
    for word in shuffler.words { writer.add(word) }
    for row in order { writer.add(UInt64(row)) }
    writer.add(reports)
    return writer.bytes
  }

  private mutating func resume(_ state: [UInt8]) throws(TrainingError) {
    var reader = ByteReader(state[...])
    guard reader.bytes(beginning.count) == beginning else {
      throw .fit("checkpoint: expected the encoder that it was made with, found another in model.base")
    }
    guard read(&reader), reader.isAtEnd else {
      throw .fit("checkpoint: expected the state of an encoder of this shape, found another")
    }
    network.parameters.mergeAdapters()
  }

  private mutating func read(_ reader: inout ByteReader) -> Bool {
    guard let seconds = reader.double(),
      reader.fill(network.parameters.parameters, first: network.parameters.learningCount), best.read(&reader),
      optimiser.read(&reader)
    else { return false }
    self.seconds = seconds
    let words = (0..<4).compactMap { _ in reader.number() }
    guard words.count == 4, let order = reader.order(count: order.count) else { return false }
    (shuffler, self.order) = (RandomSource(words: words), order)
    guard
      let reports = reader.reports(epochs: epochs, metricName: network.isRegression ? "R²" : "accuracy")
    else { return false }
    self.reports = reports
    return best.epoch <= reports.count
  }
}

/// The learning rate of each step: it rises from 0, and then falls to 0 or stays.
struct StepSchedule: Equatable {
  enum Shape: String, CaseIterable {
    case linear, cosine, constant
  }

  let highest: Double
  private let steps: Int
  private let warmupSteps: Int
  private let shape: Shape

  static let settings = [
    Setting(
      "schedule", .choice(Shape.allCases.map(\.rawValue)), .text(Shape.linear.rawValue),
      "How the learning rate falls to 0 behind the warm-up; constant: it stays."),
    Setting(
      "warmup", .number(0...1), .number(0.1), "Share of all steps in which the learning rate rises from 0."),
  ]

  /// - Parameters:
  ///   - training: the section of the run file.
  ///   - steps: those of all epochs.
  init(_ training: Document, highest: Double, steps: Int) {
    self.highest = highest
    self.steps = steps
    warmupSteps = Int((Double(steps) * (training["warmup"].number ?? 0)).rounded(.up))
    shape = Shape(rawValue: training["schedule"].text ?? "") ?? .linear
  }

  /// - Parameter step: its number, from 1.
  func rate(step: Int) -> Double {
    if step <= warmupSteps { return highest * Double(step) / Double(warmupSteps) }
    // The last step still changes something.
    let progress = Double(step - warmupSteps - 1) / Double(max(steps - warmupSteps, 1))
    switch shape {
    case .constant: return highest
    case .linear: return highest * (1 - progress)
    case .cosine: return highest * 0.5 * (1 + cos(Double.pi * progress))
    }
  }
}
