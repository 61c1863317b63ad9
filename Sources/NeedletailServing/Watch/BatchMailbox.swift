internal import NeedletailEngine
internal import Synchronization

/// Place where one loop leaves a batch that a version answered, rows and answers, for a background thread.
///
/// It holds one batch. While that batch is being dealt with, or waits to be, the loop leaves nothing: nobody waits for
/// background work, and it is the first thing to go under load.
///
/// The loop makes it, and the background thread prepares it: that takes memory, whose pages are there before the loop
/// writes them.
///
/// `@unchecked Sendable`: `state` says which thread owns everything else: the loop while it is `empty`, the background
/// thread in every other state.
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
  }

  /// A batch, as the background thread sees it.
  struct Batch {
    let input: UnsafeRawPointer
    /// For every output of the plan its `rows × columns` floats; those that are not in `selection` say nothing.
    let outputs: [UnsafeMutablePointer<Float>]
    let rows: Int
    /// Outputs that were computed, one bit each.
    let selection: UInt64
  }

  private let plan: Plan
  private let state = Atomic<Int>(State.unprepared)
  private let closed = Atomic<Bool>(false)
  private var input: UnsafeMutableRawPointer?
  private var outputs: [UnsafeMutablePointer<Float>] = []
  private var capacity = 0
  private var rows = 0
  /// Rows of the batch from one that is copied to the next: rows are spread over the whole batch, because callers sort
  /// theirs.
  private var stride = 1
  private var selection = UInt64.max
  private var phase = Phase.idle

  init(_ plan: Plan) { self.plan = plan }

  deinit {
    input?.deallocate()
    for output in outputs { output.deallocate() }
  }

  // MARK: called by the loop

  /// Copies rows of the next run, if there is room, because a plan may overwrite its input.
  /// - Returns: number of rows that were copied.
  func takeInput(_ workspace: borrowing Workspace, rows: Int) -> Int { take(workspace.input, rows: rows) }

  private func take(_ bound: UnsafeRawPointer, rows: Int) -> Int {
    guard state.load(ordering: .acquiring) == State.empty, phase == .idle, let input else { return 0 }
    stride = (rows + capacity - 1) / capacity
    self.rows = (rows + stride - 1) / stride
    let itemBytes = plan.inputItemBytes
    for row in 0..<self.rows {
      (input + row * itemBytes).copyMemory(from: bound + row * stride * itemBytes, byteCount: itemBytes)
    }
    phase = .inputTaken
    return self.rows
  }

  /// Copies the outputs of the rows that were taken last.
  func takeOutputs(_ workspace: borrowing Workspace) {
    guard phase == .inputTaken else { return }
    phase = .whole
    selection = .max
    for index in plan.outputs.indices { copy(workspace.output(index), of: index) }
  }

  /// Copies a call that a worker answered, if there is room.
  /// - Returns: number of rows that were copied.
  func take(
    input: UnsafeRawPointer, outputs values: UnsafeBufferPointer<UnsafePointer<Float>>, selection: UInt64, rows: Int
  ) -> Int {
    let taken = take(input, rows: rows)
    guard taken > 0 else { return 0 }
    phase = .whole
    self.selection = selection
    for index in plan.outputs.indices where selection.selects(index) { copy(values[index], of: index) }
    return taken
  }

  /// Copies the values of an output for the rows that were taken.
  private func copy(_ values: UnsafePointer<Float>, of output: Int) {
    let width = plan.outputs[output].floatsPerRow
    for row in 0..<rows { (outputs[output] + row * width).update(from: values + row * stride * width, count: width) }
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

  /// Makes the memory for batches.
  func prepare(rows capacity: Int) {
    let bytes = capacity * plan.inputItemBytes
    let input = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: MemoryLayout<Double>.alignment)
    input.initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
    self.input = input
    outputs = plan.outputs.map { output in
      let values = UnsafeMutablePointer<Float>.allocate(capacity: capacity * output.floatsPerRow)
      values.initialize(repeating: 0, count: capacity * output.floatsPerRow)
      return values
    }
    self.capacity = capacity
    state.store(State.empty, ordering: .releasing)
  }

  /// Deals with the batch, if there is one, and makes room for the next.
  /// - Returns: what `body` made of it; nil: there was no batch.
  func withBatch<Result>(_ body: (Batch) -> Result) -> Result? {
    guard state.load(ordering: .acquiring) == State.full, let input else { return nil }
    defer { state.store(State.empty, ordering: .releasing) }
    return body(Batch(input: input, outputs: outputs, rows: rows, selection: selection))
  }
}
