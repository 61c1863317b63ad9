internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailModels

/// Counts sampled rows of a version for its live statistics. What is answered between two samples is not watched, and
/// nobody counts it: a sample is enough.
final class WatchWork: BatchWork {
  private let plan: Plan
  private let watch: VersionWatch

  init(_ plan: Plan, _ watch: VersionWatch) {
    self.plan = plan
    self.watch = watch
  }

  var skippedRows: SkippedRows? { nil }

  func prepare() -> BatchKeeping? {
    BatchKeeping(rowsMax: min(plan.rowsMax, Limits.watchRowsMax), isSample: true)
  }

  func work(on batch: BatchMailbox.Batch) -> UInt64 {
    watch.add(input: batch.input.items, outputs: batch.outputs, rows: batch.rows, selection: batch.selection)
    return UInt64(Limits.watchPauseMicroseconds)
  }
}

/// One loop's copies of what a version answers, for its live statistics. It does nothing for a version that is not
/// watched.
struct WatchCopies: ~Copyable {
  private let mailbox: BatchMailbox?
  private let runner: BackgroundRunner?

  init(_ model: LiveModel, _ runner: BackgroundRunner?) {
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

  /// Whether the next batch is copied.
  var isOpen: Bool { mailbox?.isOpen ?? false }

  /// Copies rows of a batch before it is computed.
  func takeInput(_ workspace: borrowing Workspace, rows: Int, shard: Int) {
    mailbox?.takeInput(workspace, rows: rows, shard: shard)
  }

  /// Copies the answers of the batch whose input was copied, and hands both over.
  func takeOutputs(_ workspace: borrowing Workspace) {
    mailbox?.takeOutputs(workspace)
    if mailbox?.send() == true { runner?.wake() }
  }

  /// Copies a call that a worker computed, and hands it over.
  func take(
    input: RowMemory, outputs: UnsafeBufferPointer<UnsafePointer<Float>>, selection: UInt64, rows: Int, shard: Int
  ) {
    mailbox?.take(input: input, outputs: outputs, selection: selection, rows: rows, shard: shard)
    if mailbox?.send() == true { runner?.wake() }
  }
}
