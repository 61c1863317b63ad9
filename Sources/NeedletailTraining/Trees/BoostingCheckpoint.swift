internal import CNeedletailTraining

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

extension GrownTree {
  fileprivate func write(_ writer: inout ByteWriter) {
    writer.add(UInt64(steps.count))
    for (step, record) in zip(steps, records) {
      let members = step.members
      let numbers: [UInt64] = [
        UInt64(step.column), UInt64(UInt32(bitPattern: step.left)), UInt64(UInt32(bitPattern: step.right)), members.0,
        members.1, members.2, members.3, UInt64(record.feature), record.gain.bitPattern,
        UInt64(bitPattern: Int64(record.bin)), record.missingGoesLeft ? 1 : 0,
      ]
      for number in numbers { writer.add(number) }
    }
    writer.add(UInt64(values.count))
    for value in values { writer.add(UInt64(value.bitPattern)) }
    writer.add(UInt64(counts.count))
    for count in counts { writer.add(UInt64(count)) }
  }

  /// - Returns: nil for bytes that are no tree of so many features: its steps are walked without further checks.
  fileprivate init?(_ reader: inout ByteReader, features: Int, leavesMax: Int) {
    guard let stepCount = reader.count(), stepCount < max(leavesMax, 1) else { return nil }
    for place in 0..<stepCount {
      let numbers = (0..<11).compactMap { _ in reader.number() }
      guard numbers.count == 11, numbers[0] < UInt64(features), numbers[7] < UInt64(features),
        let left = UInt32(exactly: numbers[1]), let right = UInt32(exactly: numbers[2]),
        let bin = Int(exactly: Int64(bitPattern: numbers[9])), (-1...Int(UInt16.max)).contains(bin)
      else { return nil }
      for child in [Int32(bitPattern: left), Int32(bitPattern: right)] {
        // Children stand behind their parent, so that a walk ends.
        guard child >= 0 ? Int(child) > place && Int(child) < stepCount : Int(~child) <= stepCount else { return nil }
      }
      var step = nt_boost_step()
      step.column = UInt32(numbers[0])
      step.left = Int32(bitPattern: left)
      step.right = Int32(bitPattern: right)
      step.members = (numbers[3], numbers[4], numbers[5], numbers[6])
      steps.append(step)
      records.append(
        Record(
          feature: Int(numbers[7]), gain: Double(bitPattern: numbers[8]), bin: bin, missingGoesLeft: numbers[10] == 1))
    }
    guard reader.count() == stepCount + 1 else { return nil }
    for _ in 0...stepCount {
      guard let bits = reader.number().flatMap(UInt32.init(exactly:)) else { return nil }
      values.append(Float(bitPattern: bits))
    }
    guard reader.count() == stepCount + 1 else { return nil }
    for _ in 0...stepCount {
      guard let count = reader.count() else { return nil }
      counts.append(count)
    }
  }
}
