/// A boosting that goes on where it was stopped, and then grows the same trees, bit for bit.
extension Boosting {
  /// What rounds so far have left behind, beside the sums of the rows.
  struct Progress {
    var iteration = 0
    var trees: [GrownTree] = []
    var best = (loss: Double.infinity, count: 0, metric: nil as Double?)
    var reports: [EpochReport] = []
  }

  /// Saves the state where it is time to, and stops where the user asks for it.
  func keep(_ progress: Progress) throws(TrainingError) {
    guard let checkpoints = context.checkpoints, checkpoints.isDue, progress.iteration < settings.treesMax else {
      return
    }
    try checkpoints.save(state(progress))
    if checkpoints.isStopping {
      throw .interrupted("stopped after round \(progress.iteration) of \(settings.treesMax)")
    }
  }

  /// Goes on from the checkpoint, if there is one.
  ///
  /// - Throws: `TrainingError` where it holds the state of something else.
  mutating func resumed() throws(TrainingError) -> Progress {
    guard let state = context.checkpoints?.resumed else { return Progress() }
    var reader = ByteReader(state[...])
    guard let progress = read(&reader), reader.isAtEnd else {
      throw .fit("checkpoint: expected the state of a boosting on these rows, found another")
    }
    for report in progress.reports { try context.progress(report) }
    return progress
  }

  private func state(_ progress: Progress) -> [UInt8] {
    var writer = ByteWriter()
    writer.add(UInt64(progress.iteration))
    writer.add(progress.best.loss)
    writer.add(UInt64(progress.best.count))
    writer.add(progress.best.metric ?? .nan)
    for word in random.words { writer.add(word) }
    for rows in [training, validation].compactMap({ $0 }) {
      writer.add(UInt64(rows.scores.count))
      for row in 0..<rows.scores.count { writer.add(UInt64(rows.scores.start[row].bitPattern)) }
    }
    writer.add(UInt64(progress.trees.count))
    for tree in progress.trees { tree.write(&writer) }
    writer.add(UInt64(progress.reports.count))
    for report in progress.reports {
      writer.add(UInt64(report.epoch))
      for number in [
        report.loss, report.validationLoss ?? .nan, report.validationMetric ?? .nan, Double(report.bestEpoch),
        report.bestMetric ?? .nan,
      ] { writer.add(number) }
    }
    return writer.bytes
  }

  private mutating func read(_ reader: inout ByteReader) -> Progress? {
    func optional(_ number: Double) -> Double? { number.isNaN ? nil : number }
    var progress = Progress()
    guard let iteration = reader.count(), (1...settings.treesMax).contains(iteration), let lowest = reader.double(),
      let count = reader.count(), count <= iteration, let metric = reader.double()
    else { return nil }
    progress.iteration = iteration
    progress.best = (lowest, count, optional(metric))
    let words = (0..<4).compactMap { _ in reader.number() }
    guard words.count == 4 else { return nil }
    random = RandomSource(words: words)
    for rows in [training, validation].compactMap({ $0 }) {
      guard reader.count() == rows.scores.count else { return nil }
      for row in 0..<rows.scores.count {
        guard let bits = reader.number().flatMap(UInt32.init(exactly:)) else { return nil }
        rows.scores.start[row] = Float(bitPattern: bits)
      }
    }
    guard reader.count() == iteration * outputs else { return nil }
    for _ in 0..<(iteration * outputs) {
      guard let tree = GrownTree(&reader, features: table.columns.count, leavesMax: settings.rules.leavesMax) else {
        return nil
      }
      progress.trees.append(tree)
    }
    guard let reports = reader.count(), reports <= iteration else { return nil }
    for _ in 0..<reports {
      guard let epoch = reader.count() else { return nil }
      let numbers = (0..<5).compactMap { _ in reader.double() }
      guard numbers.count == 5, let bestEpoch = Int(exactly: numbers[3]) else { return nil }
      progress.reports.append(
        EpochReport(
          epoch: epoch, epochCount: settings.treesMax, loss: numbers[0], validationLoss: optional(numbers[1]),
          validationMetric: optional(numbers[2]), metricName: loss.metricName, bestEpoch: bestEpoch,
          bestMetric: optional(numbers[4]), stepName: "round"))
    }
    return progress
  }
}
