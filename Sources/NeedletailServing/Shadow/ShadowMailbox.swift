internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailMetrics
internal import NeedletailModels
internal import Synchronization

/// Place where one loop leaves a batch that a version answered, for another version to answer again.
///
/// It holds one batch. While that batch is being computed, or waits to be, the loop leaves nothing and counts the rows
/// that it left out: a shadow never makes an answer wait, and is the first thing to go under load.
///
/// `@unchecked Sendable`: `state` says which thread owns everything else: the loop while it is `empty`, the shadow
/// thread while it is `full`.
final class ShadowMailbox: @unchecked Sendable {
  /// Progress of the loop with its next batch.
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
  private let input: UnsafeMutableRawPointer
  /// Outputs of the version that answered, in the order of its plan.
  private let outputs: [UnsafeMutablePointer<Float>]
  private let capacity: Int
  private var rows = 0
  /// Outputs that were computed, one bit each.
  private var selection = UInt64.max
  private var phase = Phase.idle
  /// Workspace of the shadow thread, made with the first batch.
  private var scratch: Scratch?

  private final class Scratch {
    let workspace: Workspace

    init(_ plan: Plan) { workspace = Workspace(plan) }
  }

  /// - Returns: nil where the bound rows of one version cannot be turned into rows of the other: see ``ShadowMatch``.
  init?(_ shadowed: LiveModel, shadow: LiveModel, counters: ShadowCounters) {
    let (from, to) = (shadowed.compiled, shadow.compiled)
    guard let match = try? ShadowMatch(from, shadow: to) else { return nil }
    self.match = match
    self.shadowed = shadowed
    self.shadow = shadow
    self.counters = counters
    comparison = ShadowComparison(from, to)
    capacity = min(from.plan.rowsMax, to.plan.rowsMax, Limits.shadowRowsMax)
    input = .allocate(
      byteCount: capacity * from.plan.inputItemBytes, alignment: MemoryLayout<Double>.alignment)
    let rowsMax = capacity
    outputs = from.plan.outputs.map { .allocate(capacity: rowsMax * $0.floatsPerRow) }
  }

  deinit {
    input.deallocate()
    for output in outputs { output.deallocate() }
  }

  // MARK: called by the loop

  /// Copies the input of the next run, if there is room, because a plan may overwrite its input.
  func takeInput(_ workspace: borrowing Workspace, rows: Int, shard: Int) {
    _ = isTaken(workspace.input, rows: rows, shard: shard)
  }

  private func isTaken(_ rows0: UnsafeRawPointer, rows: Int, shard: Int) -> Bool {
    guard state.load(ordering: .acquiring) == State.empty, phase == .idle else {
      counters.busy.add(UInt64(rows), shard: shard)
      return false
    }
    self.rows = min(rows, capacity)
    if rows > capacity { counters.busy.add(UInt64(rows - capacity), shard: shard) }
    input.copyMemory(from: rows0, byteCount: self.rows * shadowed.compiled.plan.inputItemBytes)
    phase = .inputTaken
    return true
  }

  /// Copies the outputs of the rows that were taken last.
  func takeOutputs(_ workspace: borrowing Workspace) {
    guard phase == .inputTaken else { return }
    phase = .whole
    selection = .max
    for (index, output) in shadowed.compiled.plan.outputs.enumerated() {
      outputs[index].update(from: workspace.output(index), count: rows * output.floatsPerRow)
    }
  }

  /// Copies a call that a worker answered, if there is room. Outputs that its caller did not ask for are not compared.
  func take(
    input: UnsafeRawPointer, outputs values: UnsafeBufferPointer<UnsafePointer<Float>>, selection: UInt64,
    rows: Int, shard: Int
  ) {
    guard isTaken(input, rows: rows, shard: shard) else { return }
    phase = .whole
    self.selection = selection
    for (index, output) in shadowed.compiled.plan.outputs.enumerated() where selection.selects(index) {
      outputs[index].update(from: values[index], count: self.rows * output.floatsPerRow)
    }
  }

  /// Hands over the copied batch.
  /// - Returns: whether there was one.
  func send() -> Bool {
    guard phase == .whole else { return false }
    phase = .idle
    state.store(State.full, ordering: .releasing)
    return true
  }

  /// Ends the use of this mailbox by the loop.
  func close() { closed.store(true, ordering: .releasing) }

  // MARK: called by the shadow thread

  var isClosed: Bool { closed.load(ordering: .acquiring) }

  /// Computes and compares the batch, if there is one.
  /// - Returns: microseconds that this took; nil: there was no batch.
  func work() -> UInt32? {
    guard state.load(ordering: .acquiring) == State.full else { return nil }
    let plan = shadow.compiled.plan
    let scratch = self.scratch ?? Scratch(plan)
    self.scratch = scratch
    match.bind(input, rows: rows, into: scratch.workspace.input)
    let start = Instant.now()
    // On this thread alone: the engine's other threads are for calls whose callers wait.
    plan.runAlone(scratch.workspace, rows: rows)
    let microseconds = Instant.now().microseconds(since: start)
    counters.compute.record(microseconds: microseconds)
    counters.add(comparison.compare(outputs, scratch.workspace, rows: rows, selection: selection), rows: rows)
    state.store(State.empty, ordering: .releasing)
    return microseconds
  }
}

/// One loop's connection from a version to the version that shadows it. It does nothing while there is no shadow.
struct ShadowCopies: ~Copyable {
  private var shadow: LiveModel?
  private var mailbox: ShadowMailbox?
  private var counters: ShadowCounters?
  private var runner: ShadowRunner?

  deinit {
    mailbox?.close()
    runner?.wake()
  }

  /// Connects `model` to `shadow`; nil ends the connection.
  mutating func connect(_ model: LiveModel, to shadow: LiveModel?, _ runner: ShadowRunner) {
    guard shadow !== self.shadow else { return }
    if let mailbox {
      // The shadow thread then releases both versions.
      mailbox.close()
      runner.wake()
    }
    self.runner = runner
    self.shadow = shadow
    mailbox = shadow.flatMap { runner.mailbox(from: model, to: $0) }
    counters = shadow.map { runner.counters(of: $0) }
  }

  /// Copies a batch's input before it is computed.
  func takeInput(_ workspace: borrowing Workspace, rows: Int, shard: Int) {
    guard shadow != nil else { return }
    if let mailbox {
      mailbox.takeInput(workspace, rows: rows, shard: shard)
    } else {
      counters?.incompatible.add(UInt64(rows), shard: shard)
    }
  }

  /// Copies the outputs of the batch whose input was copied.
  func takeOutputs(_ workspace: borrowing Workspace) { mailbox?.takeOutputs(workspace) }

  /// Copies the input and the outputs of a call that a worker computed.
  func take(
    input: UnsafeRawPointer, outputs: UnsafeBufferPointer<UnsafePointer<Float>>, selection: UInt64, rows: Int,
    shard: Int
  ) {
    guard shadow != nil else { return }
    if let mailbox {
      mailbox.take(input: input, outputs: outputs, selection: selection, rows: rows, shard: shard)
    } else {
      counters?.incompatible.add(UInt64(rows), shard: shard)
    }
  }

  /// Hands over what was copied.
  func send() {
    if mailbox?.send() == true { runner?.wake() }
  }

  /// Counts rows that are not copied.
  func skip(rows: Int, shard: Int) { counters?.busy.add(UInt64(rows), shard: shard) }
}
