internal import Glibc
internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailModels
internal import NeedletailSystem
internal import Synchronization

/// Counts sampled rows of all versions for their live statistics, on a low-priority thread of its own that all loops
/// share. The thread starts with the first version that is watched and ends with the server. It sleeps while nothing is
/// answered.
public final class WatchRunner: Sendable {
  private let work = WatchWork()

  public init() {}

  deinit { work.stop() }

  /// Makes the place where one loop leaves batches of a version: once per loop and version.
  func mailbox(of model: LiveModel, _ watch: VersionWatch) -> BatchMailbox {
    let mailbox = BatchMailbox(model.compiled.plan)
    work.add(
      WatchWork.Entry(mailbox: mailbox, watch: watch, capacity: min(model.compiled.plan.rowsMax, Limits.watchRowsMax)))
    return mailbox
  }

  /// Whether every mailbox is prepared.
  var isPrepared: Bool { work.isPrepared }

  /// Wakes the thread because a mailbox was filled or closed.
  func wake() { work.signal() }
}

/// State of the thread. It does not refer to the runner, whose end stops the thread.
private final class WatchWork: Sendable {
  struct Entry: Sendable {
    let mailbox: BatchMailbox
    let watch: VersionWatch
    let capacity: Int
  }

  private struct State {
    var entries: [Entry] = []
    var isStarted = false
    var isStopped = false
  }

  private let state = Mutex(State())
  private let wakeup = Wakeup()

  var isPrepared: Bool { state.withLock { $0.entries.allSatisfy(\.mailbox.isPrepared) } }

  func add(_ entry: Entry) {
    let isFirst = state.withLock { state in
      state.entries.append(entry)
      defer { state.isStarted = true }
      return !state.isStarted
    }
    if isFirst { NativeThread.start(name: "nt-watch", niceness: 10) { [self] in run() } }
    signal()
  }

  func signal() { wakeup.signal() }

  func stop() {
    state.withLock { $0.isStopped = true }
    signal()
  }

  private func run() {
    while true {
      wakeup.wait()
      var closed: [Entry] = []
      let entries: [Entry]? = state.withLock { state in
        let firstClosed = state.entries.partition(by: \.mailbox.isClosed)
        closed = Array(state.entries[firstClosed...])
        state.entries.removeSubrange(firstClosed...)
        return state.isStopped ? nil : state.entries
      }
      // Freed outside of the lock, which a loop takes for a new mailbox, and not before the loop has let go of it.
      while !closed.isEmpty {
        var entry = closed.popLast()?.mailbox
        NativeThread.dropLast(&entry)
      }
      guard let entries else { return }
      for entry in entries where !entry.mailbox.isPrepared { entry.mailbox.prepare(rows: entry.capacity) }
      var isAnyCounted = false
      for entry in entries {
        let counted: Void? = entry.mailbox.withBatch { batch in
          entry.watch.add(
            input: batch.input, outputs: batch.outputs, rows: batch.rows, selection: batch.selection)
        }
        if counted != nil { isAnyCounted = true }
      }
      // What is answered meanwhile is not watched: a sample is enough.
      if isAnyCounted { usleep(UInt32(Limits.watchPauseMicroseconds)) }
    }
  }
}

/// One loop's copies of what a version answers, for its live statistics. It does nothing for a version that is not
/// watched.
struct WatchCopies: ~Copyable {
  private let mailbox: BatchMailbox?
  private let runner: WatchRunner?

  init(_ model: LiveModel, _ runner: WatchRunner?) {
    guard let runner, let watch = model.watch else {
      (mailbox, self.runner) = (nil, nil)
      return
    }
    (mailbox, self.runner) = (runner.mailbox(of: model, watch), runner)
  }

  deinit {
    mailbox?.close()
    runner?.wake()
  }

  /// Copies rows of a batch before it is computed.
  func takeInput(_ workspace: borrowing Workspace, rows: Int) { _ = mailbox?.takeInput(workspace, rows: rows) }

  /// Copies the answers of the batch whose input was copied, and hands both over.
  func takeOutputs(_ workspace: borrowing Workspace) {
    mailbox?.takeOutputs(workspace)
    if mailbox?.send() == true { runner?.wake() }
  }

  /// Copies a call that a worker computed, and hands it over.
  func take(
    input: UnsafeRawPointer, outputs: UnsafeBufferPointer<UnsafePointer<Float>>, selection: UInt64, rows: Int
  ) {
    _ = mailbox?.take(input: input, outputs: outputs, selection: selection, rows: rows)
    if mailbox?.send() == true { runner?.wake() }
  }
}
