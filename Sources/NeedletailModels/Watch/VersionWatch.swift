public import NeedletailCore
public import NeedletailEngine
internal import Synchronization

/// Live statistics of one version: how the inputs and answers of sampled rows compare with those of training.
///
/// One thread counts, any thread reads.
public final class VersionWatch: Sendable {
  /// How one column compares with training.
  public struct Column: Sendable {
    public let name: String
    public let figures: DriftFigures
    /// Share of the training rows in which it was missing.
    public let trainedMissingRate: Double
  }

  /// How the answers compare with those for the training rows.
  public struct Answers: Sendable {
    public let column: Column
    /// Share of each class among the watched answers; empty for a regression.
    public let classShares: [(name: String, share: Double)]
    /// Mean of the largest probability; nil without probabilities.
    public let confidence: Double?
    /// Mean of the numbers of a regression; nil for a classification.
    public let mean: Double?
    /// Share of the answers that were NaN or infinite.
    public let nonFiniteRate: Double
    /// Answers of the window.
    public let rows: Int
  }

  /// Everything that is known at one moment.
  public struct Report: Sendable {
    public let columns: [Column]
    public let answers: Answers?

    /// Columns at a level, the answers counting as one.
    public func count(_ level: DriftFigures.Level) -> Int {
      columns.count { $0.figures.level == level } + (answers?.column.figures.level == level ? 1 : 0)
    }
  }

  /// Sums over the answers of a window, by slices as ``DriftWindow``.
  private struct Sums {
    var rows = 0
    var nonFinite = 0
    var confidence = 0.0
    var confident = 0
    var value = 0.0

    static func += (a: inout Sums, b: Sums) {
      a.rows += b.rows
      a.nonFinite += b.nonFinite
      a.confidence += b.confidence
      a.confident += b.confident
      a.value += b.value
    }
  }

  private struct State {
    var window: DriftWindow
    /// Sums of the newest slices, as many as the window has begun; the last one is being filled.
    var sums: [Sums]
    var rows: UInt64 = 0
    var recent: (report: Report, time: Instant)?
  }

  private let columns: [(feature: Int, column: DriftColumn)]
  private let answers: AnswerColumn?
  private let element: ValueType.Element
  private let width: Int
  private let state: Mutex<State>

  /// Columns of features that are not watched: their baseline does not fit them, or there is no room.
  public let unwatched: Int

  /// - Parameters:
  ///   - seconds: length of the window.
  /// - Returns: nil where nothing can be watched.
  public init?(_ model: CompiledModel, baseline: DriftBaseline, seconds: Int, now: Instant = .now()) {
    var byName: [String: DriftBaseline.Column] = [:]
    for column in baseline.features { byName[column.name] = column }
    var columns: [(feature: Int, column: DriftColumn)] = []
    var cells = 0
    let features = model.definition.schema.features
    for (index, feature) in features.enumerated() {
      guard let baseline = byName[feature.name], let column = DriftColumn(baseline, feature),
        columns.count < Limits.watchedColumnsMax, cells + column.count <= Limits.watchedCellsMax
      else { continue }
      cells += column.count
      columns.append((index, column))
    }
    answers = AnswerColumn(model, baseline.prediction)
    guard !columns.isEmpty || answers != nil else { return nil }
    self.columns = columns
    unwatched = features.count - columns.count
    element = model.plan.input.element
    width = model.plan.input.columns
    let watched = columns.map(\.column.count) + (answers.map { [$0.column.count] } ?? [])
    state = Mutex(State(window: DriftWindow(cells: watched, seconds: seconds, now: now), sums: [Sums()]))
  }

  /// Counts rows that were answered.
  /// - Parameters:
  ///   - input: bound rows, as the plan reads them.
  ///   - outputs: for every output of the plan its `rows × columns` floats.
  ///   - rows: number of rows.
  ///   - selection: outputs that were computed, one bit each. Where those that tell the answer are missing, only the
  ///     input is counted.
  public func add(
    input: UnsafeRawPointer, outputs: [UnsafeMutablePointer<Float>], rows: Int, selection: UInt64 = .max,
    now: Instant = .now()
  ) {
    let answers = answers.flatMap { $0.isIn(selection) ? $0 : nil }
    state.withLock { state in
      advance(&state, to: now)
      for row in 0..<rows {
        for (index, watched) in columns.enumerated() {
          let at = row * width + watched.feature
          let value =
            element == .float64
            ? input.load(fromByteOffset: at * 8, as: Double.self)
            : Double(input.load(fromByteOffset: at * 4, as: Float.self))
          state.window.add(watched.column.place(of: value), column: index)
        }
        if let answers { add(answers.answer(outputs, row: row), of: answers, to: &state) }
      }
      state.rows &+= UInt64(rows)
    }
  }

  /// Answers raw rows and counts them, for tools; allocates.
  /// - Parameter rows: one cell per feature each, in schema order.
  /// - Throws: the error of the row that the model refuses.
  public func add(_ rows: [[Cell]], of model: CompiledModel) throws(ServingError) {
    let plan = model.plan
    let workspace: Workspace
    do throws(PlanError) { workspace = try Workspace(plan) } catch { throw ServingError(.internal, error.message) }
    let input = UnsafeMutableRawPointer.allocate(
      byteCount: plan.rowsMax * plan.inputItemBytes, alignment: MemoryLayout<Double>.alignment)
    defer { input.deallocate() }
    var start = 0
    while start < rows.count {
      let count = try model.binder.bind(rows: rows.count - start, from: start, for: plan, into: workspace.rows) {
        rows[$0]
      }
      // The run may overwrite its input.
      input.copyMemory(from: workspace.input, byteCount: count * plan.inputItemBytes)
      plan.runAlone(workspace, rows: count)
      if let error = plan.textError(workspace, rows: 0..<count, first: start) { throw error }
      var outputs: [UnsafeMutablePointer<Float>] = []
      for index in plan.outputs.indices { outputs.append(UnsafeMutablePointer(mutating: workspace.output(index))) }
      add(input: input, outputs: outputs, rows: count)
      start += count
    }
  }

  private func add(_ answer: AnswerColumn.Answer, of answers: AnswerColumn, to state: inout State) {
    let last = state.sums.count - 1
    state.sums[last].rows += 1
    guard answer.value.isFinite else { return state.sums[last].nonFinite += 1 }
    state.window.add(answers.column.place(of: answer.value), column: columns.count)
    state.sums[last].value += answer.value
    if let confidence = answer.confidence, confidence.isFinite {
      state.sums[last].confidence += confidence
      state.sums[last].confident += 1
    }
  }

  private func advance(_ state: inout State, to now: Instant) {
    let begun = state.window.advance(to: now)
    guard begun > 0 else { return }
    for _ in 0..<min(begun, DriftWindow.slices) { state.sums.append(Sums()) }
    state.sums.removeFirst(max(0, state.sums.count - DriftWindow.slices))
  }

  /// Names of the watched columns, in the order of a report's.
  var columnNames: [String] { columns.map(\.column.name) }
  var watchesAnswers: Bool { answers != nil }
  /// Names of the classes, in the order of a report's.
  var classNames: [String] { answers?.namedClasses.map(\.name) ?? [] }

  /// Rows counted since the version went live.
  public var rows: UInt64 { state.withLock { $0.rows } }

  /// A report of less than a second ago: a scrape asks for it once for each series, a page with each look.
  public func recentReport(at now: Instant = .now()) -> Report {
    if let recent = state.withLock({ $0.recent }), now < recent.time.advanced(byMicroseconds: 1_000_000) {
      return recent.report
    }
    let report = report(at: now)
    state.withLock { $0.recent = (report, now) }
    return report
  }

  /// Figures of the window that ends now.
  /// - Complexity: O(cells).
  public func report(at now: Instant = .now()) -> Report {
    let (counts, sums) = state.withLock { state in
      advance(&state, to: now)
      return (state.window.counts, state.sums.reduce(into: Sums()) { $0 += $1 })
    }
    func column(_ column: DriftColumn, _ counts: DriftCounts) -> Column {
      Column(
        name: column.name, figures: DriftFigures(counts, reference: column.reference),
        trainedMissingRate: column.missingRate)
    }
    return Report(
      columns: zip(columns, counts).map { column($0.column, $1) },
      answers: answers.map { answers in
        let found = counts[columns.count]
        let finite = sums.rows - sums.nonFinite
        return Answers(
          column: column(answers.column, found),
          classShares: answers.shares(found),
          confidence: sums.confident > 0 ? sums.confidence / Double(sums.confident) : nil,
          mean: answers.classes.isEmpty && finite > 0 ? sums.value / Double(finite) : nil,
          nonFiniteRate: sums.rows > 0 ? Double(sums.nonFinite) / Double(sums.rows) : 0, rows: sums.rows)
      })
  }
}
