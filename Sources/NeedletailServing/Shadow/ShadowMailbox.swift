internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailMetrics
internal import NeedletailModels
internal import Synchronization

/// Where one loop leaves a batch that a version answered, for another version to answer again.
///
/// It holds one batch. While that is being computed, or waits to be, the loop leaves nothing and counts
/// what it left out: a shadow never makes an answer wait, and is the first thing to go under load.
///
/// `@unchecked Sendable`: `state` says whose everything else is: the loop's while it is `empty`,
/// the shadow thread's while it is `full`.
final class ShadowMailbox: @unchecked Sendable {
  /// How far the loop is with its next batch.
  private enum Phase {
    case idle
    case inputTaken
    case whole
  }

  private enum State {
    static let empty = 0
    static let full = 1
  }

  let shadow: LiveModel
  let counters: ShadowCounters
  private let shadowed: LiveModel
  private let match: ShadowMatch
  private let comparison: ShadowComparison
  private let state = Atomic<Int>(State.empty)
  private let closed = Atomic<Bool>(false)
  private let input: UnsafeMutablePointer<Float>
  /// Outputs of the version that answered, as the comparison wants them.
  private let outputs: [UnsafeMutablePointer<Float>]
  private let capacity: Int
  private var rows = 0
  /// The outputs that were computed, a bit each.
  private var selection = UInt64.max
  private var phase = Phase.idle
  /// The shadow thread's.
  private var scratch: Scratch?

  private final class Scratch {
    let workspace: Workspace

    init(_ plan: Plan) { workspace = Workspace(plan) }
  }

  /// - Returns: nil where a bound row of one can be made no row of the other: see ``ShadowMatch``.
  init?(_ shadowed: LiveModel, shadow: LiveModel, counters: ShadowCounters) {
    let (from, to) = (shadowed.compiled, shadow.compiled)
    guard let match = try? ShadowMatch(from, shadow: to) else { return nil }
    self.match = match
    self.shadowed = shadowed
    self.shadow = shadow
    self.counters = counters
    comparison = ShadowComparison(from, to)
    capacity = min(from.plan.rowsMax, to.plan.rowsMax, Limits.shadowRowsMax)
    input = .allocate(capacity: capacity * from.plan.inputColumns)
    let rowsMax = capacity
    outputs = from.plan.outputs.map { .allocate(capacity: rowsMax * $0.floatsPerRow) }
  }

  deinit {
    input.deallocate()
    for output in outputs { output.deallocate() }
  }

  // MARK: the loop's

  /// Copies what is about to be computed, if there is room: a plan may write over its input.
  func takeInput(_ workspace: borrowing Workspace, rows: Int, shard: Int) {
    _ = isTaken(workspace.input, rows: rows, shard: shard)
  }

  private func isTaken(_ rows0: UnsafePointer<Float>, rows: Int, shard: Int) -> Bool {
    guard state.load(ordering: .acquiring) == State.empty, phase == .idle else {
      counters.busy.add(UInt64(rows), shard: shard)
      return false
    }
    self.rows = min(rows, capacity)
    if rows > capacity { counters.busy.add(UInt64(rows - capacity), shard: shard) }
    input.update(from: rows0, count: self.rows * shadowed.compiled.plan.inputColumns)
    phase = .inputTaken
    return true
  }

  /// Copies what the answers said of the rows that were taken last.
  func takeOutputs(_ workspace: borrowing Workspace) {
    guard phase == .inputTaken else { return }
    phase = .whole
    selection = .max
    for (index, output) in shadowed.compiled.plan.outputs.enumerated() {
      outputs[index].update(from: workspace.output(index), count: rows * output.floatsPerRow)
    }
  }

  /// Copies a call that a worker answered, if there is room. Outputs that nobody asked for are not compared.
  func take(
    input: UnsafePointer<Float>, outputs values: UnsafeBufferPointer<UnsafePointer<Float>>, selection: UInt64,
    rows: Int, shard: Int
  ) {
    guard isTaken(input, rows: rows, shard: shard) else { return }
    phase = .whole
    self.selection = selection
    for (index, output) in shadowed.compiled.plan.outputs.enumerated() where selection.selects(index) {
      outputs[index].update(from: values[index], count: self.rows * output.floatsPerRow)
    }
  }

  /// Hands over what was taken.
  /// - Returns: whether there was something.
  func send() -> Bool {
    guard phase == .whole else { return false }
    phase = .idle
    state.store(State.full, ordering: .releasing)
    return true
  }

  /// The loop leaves nothing here any more.
  func close() { closed.store(true, ordering: .releasing) }

  // MARK: the shadow thread's

  var isClosed: Bool { closed.load(ordering: .acquiring) }

  /// Computes and compares what lies here.
  /// - Returns: how long that took; nil if nothing did.
  func work() -> UInt32? {
    guard state.load(ordering: .acquiring) == State.full else { return nil }
    let plan = shadow.compiled.plan
    let scratch = self.scratch ?? Scratch(plan)
    self.scratch = scratch
    match.bind(input, rows: rows, into: scratch.workspace.input)
    let start = Instant.now()
    // On this thread alone: the others are for those who wait for an answer.
    plan.runAlone(scratch.workspace, rows: rows)
    let microseconds = Instant.now().microseconds(since: start)
    counters.compute.record(microseconds: microseconds)
    counters.add(comparison.compare(outputs, scratch.workspace, rows: rows, selection: selection), rows: rows)
    state.store(State.empty, ordering: .releasing)
    return microseconds
  }
}
