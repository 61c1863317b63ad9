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
  private let comparison: ShadowComparison
  private let state = Atomic<Int>(State.empty)
  private let closed = Atomic<Bool>(false)
  private let input: UnsafeMutablePointer<Float>
  /// Outputs of the version that answered, as the comparison wants them.
  private let outputs: [UnsafeMutablePointer<Float>]
  private let capacity: Int
  private var rows = 0
  private var phase = Phase.idle
  /// The shadow thread's.
  private var scratch: Scratch?

  private final class Scratch {
    let workspace: Workspace

    init(_ plan: Plan) { workspace = Workspace(plan) }
  }

  /// - Returns: nil where the two do not take the same features: a bound row of one means nothing to the other.
  init?(_ shadowed: LiveModel, shadow: LiveModel, counters: ShadowCounters) {
    let (from, to) = (shadowed.compiled, shadow.compiled)
    guard from.plan.inputColumns == to.plan.inputColumns,
      zip(from.definition.schema.features, to.definition.schema.features)
        .allSatisfy({ $0.name == $1.name && $0.kind == $1.kind && $0.missing == $1.missing })
    else { return nil }
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
    guard state.load(ordering: .acquiring) == State.empty, phase == .idle else {
      counters.busy.add(UInt64(rows), shard: shard)
      return
    }
    self.rows = min(rows, capacity)
    if rows > capacity { counters.busy.add(UInt64(rows - capacity), shard: shard) }
    input.update(from: workspace.input, count: self.rows * shadowed.compiled.plan.inputColumns)
    phase = .inputTaken
  }

  /// Copies what the answers said of the rows that were taken last.
  func takeOutputs(_ workspace: borrowing Workspace) {
    guard phase == .inputTaken else { return }
    phase = .whole
    for (index, output) in shadowed.compiled.plan.outputs.enumerated() {
      outputs[index].update(from: workspace.output(index), count: rows * output.floatsPerRow)
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
    scratch.workspace.input.update(from: input, count: rows * plan.inputColumns)
    let start = Instant.now()
    plan.run(scratch.workspace, rows: rows)
    let microseconds = Instant.now().microseconds(since: start)
    counters.compute.record(microseconds: microseconds)
    counters.add(comparison.compare(outputs, scratch.workspace, rows: rows), rows: rows)
    state.store(State.empty, ordering: .releasing)
    return microseconds
  }
}
