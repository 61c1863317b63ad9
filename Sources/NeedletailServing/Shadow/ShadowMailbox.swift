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
/// The loop makes it, and the shadow thread prepares it: that takes memory, and a lock that a scrape of the metrics may
/// hold.
///
/// `@unchecked Sendable`: `state` says which thread owns everything else: the loop while it is `empty`, the shadow
/// thread while it is `full`. `missed` is the loop's.
final class ShadowMailbox: @unchecked Sendable {
  /// Progress of the loop with its next batch.
  private enum Phase {
    case idle
    case inputTaken
    case whole
  }

  private enum State {
    static let unprepared = 0
    static let empty = 1
    static let full = 2
    /// The shadow cannot take the rows.
    static let incompatible = 3
  }

  /// What the shadow thread makes before the first batch.
  private struct Prepared {
    let counters: ShadowCounters
    let match: ShadowMatch
    let comparison: ShadowComparison
    /// Block of the rows, and its parts.
    let block: UnsafeMutableRawPointer
    let input: RowMemory
    /// Outputs of the version that answered, in the order of its plan.
    let outputs: [UnsafeMutablePointer<Float>]
    let capacity: Int
  }

  private let shadow: LiveModel
  private let shadowed: LiveModel
  private let state = Atomic<Int>(State.unprepared)
  private let closed = Atomic<Bool>(false)
  /// Series of the shadow; nil until the shadow thread has looked them up.
  private var counters: ShadowCounters?
  /// Nil where the bound rows of one version cannot be turned into rows of the other: see ``ShadowMatch``.
  private var prepared: Prepared?
  /// Rows that were left out before there were counters.
  private var missed = 0
  private var rows = 0
  /// Outputs that were computed, one bit each.
  private var selection = UInt64.max
  private var phase = Phase.idle

  init(_ shadowed: LiveModel, shadow: LiveModel) {
    self.shadowed = shadowed
    self.shadow = shadow
  }

  deinit {
    prepared?.block.deallocate()
    for output in prepared?.outputs ?? [] { output.deallocate() }
  }

  // MARK: called by the loop

  /// Copies the input of the next run, if there is room, because a plan may overwrite its input.
  func takeInput(_ workspace: borrowing Workspace, rows: Int, shard: Int) {
    _ = isTaken(workspace.rows, rows: rows, shard: shard)
  }

  private func isTaken(_ bound: RowMemory, rows: Int, shard: Int) -> Bool {
    let state = state.load(ordering: .acquiring)
    guard state == State.empty, phase == .idle, let prepared else {
      skip(rows: rows, shard: shard)
      return false
    }
    let plan = shadowed.compiled.plan
    self.rows = plan.keepRows(
      from: bound, count: min(rows, prepared.capacity), in: prepared.input, room: plan.textBytesMax)
    if rows > self.rows { skip(rows: rows - self.rows, shard: shard) }
    guard self.rows > 0 else { return false }
    phase = .inputTaken
    return true
  }

  /// Counts rows that are not copied.
  func skip(rows: Int, shard: Int) {
    let state = state.load(ordering: .acquiring)
    guard state != State.unprepared, let counters else { return missed += rows }
    let count = UInt64(rows + missed)
    missed = 0
    (state == State.incompatible ? counters.incompatible : counters.busy).add(count, shard: shard)
  }

  /// Copies the outputs of the rows that were taken last.
  func takeOutputs(_ workspace: borrowing Workspace) {
    guard phase == .inputTaken, let prepared else { return }
    phase = .whole
    selection = .max
    for (index, output) in shadowed.compiled.plan.outputs.enumerated() {
      prepared.outputs[index].update(from: workspace.output(index), count: rows * output.floatsPerRow)
    }
  }

  /// Copies a call that a worker answered, if there is room. Outputs that its caller did not ask for are not compared.
  func take(
    input: RowMemory, outputs values: UnsafeBufferPointer<UnsafePointer<Float>>, selection: UInt64,
    rows: Int, shard: Int
  ) {
    guard isTaken(input, rows: rows, shard: shard), let prepared else { return }
    phase = .whole
    self.selection = selection
    for (index, output) in shadowed.compiled.plan.outputs.enumerated() where selection.selects(index) {
      prepared.outputs[index].update(from: values[index], count: self.rows * output.floatsPerRow)
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

  var isPrepared: Bool { state.load(ordering: .acquiring) != State.unprepared }

  /// Makes what the mailbox needs.
  func prepare(_ metrics: MetricsRegistry) {
    let (from, to) = (shadowed.compiled, shadow.compiled)
    let counters = ShadowCounters(shadow, metrics: metrics)
    self.counters = counters
    guard let match = try? ShadowMatch(from, shadow: to) else {
      return state.store(State.incompatible, ordering: .releasing)
    }
    let capacity = min(from.plan.rowsMax, to.plan.rowsMax, Limits.shadowRowsMax)
    // The loop writes them: their pages are there by then.
    let inputBytes = from.plan.boundBytes(rows: capacity, textBytes: from.plan.textBytesMax)
    let block = UnsafeMutableRawPointer.allocate(byteCount: inputBytes, alignment: MemoryLayout<Double>.alignment)
    block.initializeMemory(as: UInt8.self, repeating: 0, count: inputBytes)
    let outputs = from.plan.outputs.map { output in
      let values = UnsafeMutablePointer<Float>.allocate(capacity: capacity * output.floatsPerRow)
      values.initialize(repeating: 0, count: capacity * output.floatsPerRow)
      return values
    }
    prepared = Prepared(
      counters: counters, match: match, comparison: ShadowComparison(from, to),
      block: block, input: from.plan.rowMemory(at: block, rows: capacity), outputs: outputs, capacity: capacity)
    state.store(State.empty, ordering: .releasing)
  }

  /// Computes and compares the batch, if there is one.
  /// - Returns: microseconds that this took; nil: there was no batch.
  func work() -> UInt32? {
    guard state.load(ordering: .acquiring) == State.full, let prepared else { return nil }
    let scratch = shadow.workspaces.background
    prepared.match.bind(prepared.input, rows: rows, into: scratch.workspace.rows)
    let start = Instant.now()
    // On this thread alone: the engine's other threads are for calls whose callers wait.
    shadow.compiled.plan.runAlone(scratch.workspace, rows: rows)
    let microseconds = Instant.now().microseconds(since: start)
    prepared.counters.compute.record(microseconds: microseconds)
    prepared.counters.add(
      prepared.comparison.compare(prepared.outputs, scratch.workspace, rows: rows, selection: selection), rows: rows)
    state.store(State.empty, ordering: .releasing)
    return microseconds
  }
}

/// One loop's connection from a version to the version that shadows it. It does nothing while there is no shadow.
struct ShadowCopies: ~Copyable {
  private var shadow: LiveModel?
  private var mailbox: ShadowMailbox?
  private var runner: ShadowRunner?

  var isConnected: Bool { mailbox != nil }

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
  }

  /// Copies a batch's input before it is computed.
  func takeInput(_ workspace: borrowing Workspace, rows: Int, shard: Int) {
    mailbox?.takeInput(workspace, rows: rows, shard: shard)
  }

  /// Copies the outputs of the batch whose input was copied.
  func takeOutputs(_ workspace: borrowing Workspace) { mailbox?.takeOutputs(workspace) }

  /// Copies the input and the outputs of a call that a worker computed.
  func take(
    input: RowMemory, outputs: UnsafeBufferPointer<UnsafePointer<Float>>, selection: UInt64, rows: Int,
    shard: Int
  ) {
    mailbox?.take(input: input, outputs: outputs, selection: selection, rows: rows, shard: shard)
  }

  /// Hands over what was copied.
  func send() {
    if mailbox?.send() == true { runner?.wake() }
  }

  /// Counts rows that are not copied.
  func skip(rows: Int, shard: Int) { mailbox?.skip(rows: rows, shard: shard) }
}
