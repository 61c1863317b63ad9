internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailModels

/// Hands over the predictions of one version, on one loop, to those who remember them. Confined to the loop. It allocates
/// nothing after it was made.
final class FeedbackTap {
  private let lane: FeedbackLane
  private let source: UInt32
  private let plan: Plan
  private let shape: PredictionShape
  /// Columns of the bound row by which figures are divided.
  private let columns: [Int]
  /// Values of those columns, of all rows of the batch that runs.
  private let groups: UnsafeMutablePointer<Float>
  /// Calls whose names have a digest below this one are remembered; the largest number: all are.
  private let drawsMax: UInt64

  /// - Parameter rate: share of the names that are remembered.
  init(_ plan: Plan, _ source: FeedbackBook.Source, number: UInt32, rate: Double, _ lane: FeedbackLane) {
    self.lane = lane
    self.source = number
    self.plan = plan
    shape = source.shape
    columns = source.groups.columns
    drawsMax = rate >= 1 ? .max : UInt64(rate * 0x1p64)
    let count = max(1, plan.rowsMax * columns.count)
    groups = .allocate(capacity: count)
    groups.initialize(repeating: .nan, count: count)
  }

  deinit { groups.deallocate() }

  /// Keeps what the figures are divided by: a plan may overwrite its input.
  /// - Parameter rows: of the batch that is about to run.
  func takeGroups(_ input: RowMemory, rows: Int) {
    guard !columns.isEmpty else { return }
    copyGroups(input, first: 0, rows: rows, to: groups)
  }

  private func copyGroups(_ input: RowMemory, first: Int, rows: Int, to target: UnsafeMutablePointer<Float>) {
    let width = plan.input.columns
    for row in 0..<rows {
      for index in columns.indices {
        let at = (first + row) * width + columns[index]
        target[row * columns.count + index] =
          plan.input.element == .float64
          ? Float(input.items.load(fromByteOffset: at * 8, as: Double.self))
          : input.items.load(fromByteOffset: at * 4, as: Float.self)
      }
    }
  }

  /// Hands over a call of the batch that ran.
  /// - Parameter first: its first row in the batch.
  func remember(_ name: CallName, arrival: Instant, _ answer: CapturedValues, first: Int) {
    guard isWanted(name, answer) else { return }
    write(name, arrival, answer) { target in
      target.update(from: self.groups + first * self.columns.count, count: answer.rows * self.columns.count)
    }
  }

  /// Hands over a call whose bound rows are there: a worker computed it, or its answer was known.
  /// - Parameters:
  ///   - input: memory of its bound rows.
  ///   - first: its first row there.
  func remember(_ name: CallName, arrival: Instant, _ answer: CapturedValues, input: RowMemory, first: Int = 0) {
    guard isWanted(name, answer) else { return }
    write(name, arrival, answer) { target in
      if !self.columns.isEmpty { self.copyGroups(input, first: first, rows: answer.rows, to: target) }
    }
  }

  /// Counts a call of more rows than one run takes.
  func skip(_ name: CallName) {
    if isChosen(name) { lane.count(.large) }
  }

  private func isChosen(_ name: CallName) -> Bool {
    !name.key.isNone && (drawsMax == .max || name.key.low < drawsMax)
  }

  private func isWanted(_ name: CallName, _ answer: CapturedValues) -> Bool {
    guard isChosen(name) else { return false }
    guard answer.rows <= Limits.feedbackRowsMax else {
      lane.count(.large)
      return false
    }
    guard shape.isIn(answer.selection) else {
      lane.count(.outputs)
      return false
    }
    return true
  }

  private func write(
    _ name: CallName, _ arrival: Instant, _ answer: CapturedValues, groups: (UnsafeMutablePointer<Float>) -> Void
  ) {
    let head = PredictionRecordHead(
      source: source, rows: answer.rows, isNamed: name.isSelected, time: arrival, key: name.key,
      unit: name.unit)
    let floats = answer.rows * (columns.count + shape.floatsPerRow)
    lane.write(PredictionRecordHead.bytes + 4 * floats) { place in
      head.write(to: place)
      let target = (place + PredictionRecordHead.bytes).bindMemory(to: Float.self, capacity: floats)
      groups(target)
      self.shape.copy(
        answer.values, self.plan.outputs, rows: answer.rows, to: target + answer.rows * self.columns.count)
    }
  }
}
