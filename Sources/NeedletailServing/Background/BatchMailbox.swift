internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailMetrics
internal import Synchronization

/// Work of the background thread on batches of one mailbox. All of it runs on that thread.
protocol BatchWork: AnyObject, Sendable {
  /// Makes what the work needs.
  /// - Returns: how batches are kept for it; nil: it can take none.
  func prepare() -> BatchKeeping?

  /// Counters of rows that are left out; nil: nobody counts them. Asked for after ``prepare()``.
  var skippedRows: SkippedRows? { get }

  /// Deals with a batch.
  /// - Returns: microseconds for which ``BackgroundPause`` then holds.
  func work(on batch: BatchMailbox.Batch) -> UInt64
}

/// How batches are kept for some work.
struct BatchKeeping {
  /// Rows of a batch that are kept.
  var rowsMax: Int
  /// Whether they are spread over the whole batch, because callers sort theirs, and without the bytes of their texts;
  /// else they are the first ones, with all that belongs to them.
  var isSample: Bool
}

/// Counters of rows that some work was not given.
struct SkippedRows {
  /// An earlier batch was not done, or the batch was too large.
  let busy: Counter
  /// The work can take none.
  let incompatible: Counter
}

/// Time before which the background thread deals with no batch of some mailboxes. Confined to that thread.
///
/// `@unchecked Sendable`: only the background thread touches it.
final class BackgroundPause: @unchecked Sendable {
  var end = Instant(nanoseconds: 0)
}

/// Place where one loop leaves a batch that a version answered, rows and answers, for the background thread.
///
/// It holds one batch. While that batch is being dealt with, or waits to be, the loop leaves nothing and counts the rows
/// that it left out: background work never makes an answer wait, and is the first thing to go under load.
///
/// The loop makes it, and the background thread prepares it: that takes memory, whose pages are there before the loop
/// writes them, and a lock that a scrape of the metrics may hold.
///
/// `@unchecked Sendable`: `state` says which thread owns everything else: the loop while it is `empty`, the background
/// thread in every other state. `missed` is the loop's.
final class BatchMailbox: @unchecked Sendable {
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
    /// The work can take no rows.
    static let incompatible = 3
  }

  /// A batch, as the background thread sees it.
  struct Batch {
    let input: RowMemory
    /// For every output of the plan its `rows × columns` floats; those that are not in `selection` say nothing.
    let outputs: [UnsafeMutablePointer<Float>]
    let rows: Int
    /// Outputs that were computed, one bit each.
    let selection: UInt64
  }

  /// Memory for batches.
  private struct Memory {
    let keeping: BatchKeeping
    /// Block of the rows, and its parts.
    let block: UnsafeMutableRawPointer
    let input: RowMemory
    let outputs: [UnsafeMutablePointer<Float>]
  }

  /// Plan of the version that answers.
  private let plan: Plan
  private let work: any BatchWork
  /// Holds after each batch.
  let pause: BackgroundPause
  private let state = Atomic<Int>(State.unprepared)
  private let closed = Atomic<Bool>(false)
  private var skipped: SkippedRows?
  private var memory: Memory?
  /// Rows that were left out before there were counters.
  private var missed = 0
  private var rows = 0
  /// Rows of the batch from one that is kept to the next.
  private var stride = 1
  private var selection = UInt64.max
  private var phase = Phase.idle

  init(_ plan: Plan, work: any BatchWork, pause: BackgroundPause) {
    self.plan = plan
    self.work = work
    self.pause = pause
  }

  deinit {
    memory?.block.deallocate()
    for output in memory?.outputs ?? [] { output.deallocate() }
  }

  // MARK: called by the loop

  /// Copies rows of the next run, if there is room, because a plan may overwrite its input.
  func takeInput(_ workspace: borrowing Workspace, rows: Int, shard: Int) {
    _ = take(workspace.rows, rows: rows, shard: shard)
  }

  private func take(_ bound: RowMemory, rows: Int, shard: Int) -> Bool {
    guard state.load(ordering: .acquiring) == State.empty, phase == .idle, let memory else {
      skip(rows: rows, shard: shard)
      return false
    }
    let most = memory.keeping.rowsMax
    if memory.keeping.isSample {
      stride = (rows + most - 1) / most
      self.rows = (rows + stride - 1) / stride
      let itemBytes = plan.inputItemBytes
      for row in 0..<self.rows {
        (memory.input.items + row * itemBytes).copyMemory(
          from: bound.items + row * stride * itemBytes, byteCount: itemBytes)
      }
    } else {
      self.rows = plan.keepRows(from: bound, count: min(rows, most), in: memory.input, room: plan.textBytesMax)
    }
    if rows > self.rows { skip(rows: rows - self.rows, shard: shard) }
    guard self.rows > 0 else { return false }
    phase = .inputTaken
    return true
  }

  /// Whether it takes the next batch.
  var isOpen: Bool { phase == .idle && state.load(ordering: .acquiring) == State.empty }

  /// Counts rows that are not copied.
  func skip(rows: Int, shard: Int) {
    let state = state.load(ordering: .acquiring)
    guard state != State.unprepared else { return missed += rows }
    guard let skipped else { return }
    let count = UInt64(rows + missed)
    missed = 0
    (state == State.incompatible ? skipped.incompatible : skipped.busy).add(count, shard: shard)
  }

  /// Copies the outputs of the rows that were taken last.
  func takeOutputs(_ workspace: borrowing Workspace) {
    guard phase == .inputTaken, let memory else { return }
    phase = .whole
    selection = .max
    for index in plan.outputs.indices { copy(workspace.output(index), of: index, to: memory.outputs[index]) }
  }

  /// Copies a call that a worker answered, if there is room.
  /// - Parameter selection: outputs that its caller asked for; there are no others.
  func take(
    input: RowMemory, outputs values: UnsafeBufferPointer<UnsafePointer<Float>>, selection: UInt64, rows: Int,
    shard: Int
  ) {
    guard take(input, rows: rows, shard: shard), let memory else { return }
    phase = .whole
    self.selection = selection
    for index in plan.outputs.indices where selection.selects(index) {
      copy(values[index], of: index, to: memory.outputs[index])
    }
  }

  /// Copies the values of an output for the rows that were taken.
  private func copy(_ values: UnsafePointer<Float>, of output: Int, to target: UnsafeMutablePointer<Float>) {
    let width = plan.outputs[output].floatsPerRow
    if stride == 1 { return target.update(from: values, count: rows * width) }
    for row in 0..<rows { (target + row * width).update(from: values + row * stride * width, count: width) }
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

  // MARK: called by the background thread

  var isClosed: Bool { closed.load(ordering: .acquiring) }

  var isPrepared: Bool { state.load(ordering: .acquiring) != State.unprepared }

  var isFull: Bool { state.load(ordering: .acquiring) == State.full }

  /// Makes the memory for batches, and what the work needs.
  func prepare() {
    let keeping = work.prepare()
    skipped = work.skippedRows
    guard let keeping else { return state.store(State.incompatible, ordering: .releasing) }
    let textBytes = keeping.isSample ? 0 : plan.textBytesMax
    let bytes = plan.boundBytes(rows: keeping.rowsMax, textBytes: textBytes)
    let block = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: MemoryLayout<Double>.alignment)
    block.initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
    let outputs = plan.outputs.map { output in
      let values = UnsafeMutablePointer<Float>.allocate(capacity: keeping.rowsMax * output.floatsPerRow)
      values.initialize(repeating: 0, count: keeping.rowsMax * output.floatsPerRow)
      return values
    }
    memory = Memory(
      keeping: keeping, block: block, input: plan.rowMemory(at: block, rows: keeping.rowsMax), outputs: outputs)
    state.store(State.empty, ordering: .releasing)
  }

  /// Deals with the batch, if there is one, and makes room for the next.
  func deal() {
    guard isFull, let memory else { return }
    let microseconds = work.work(
      on: Batch(input: memory.input, outputs: memory.outputs, rows: rows, selection: selection))
    pause.end = Instant.now().advanced(byMicroseconds: microseconds)
    state.store(State.empty, ordering: .releasing)
  }
}
