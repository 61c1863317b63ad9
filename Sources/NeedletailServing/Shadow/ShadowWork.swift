internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailMetrics
internal import NeedletailModels

/// Lets a shadow version answer batches again, and compares its answers with those that callers got.
///
/// `@unchecked Sendable`: only the background thread touches what is made by `prepare`.
final class ShadowWork: BatchWork, @unchecked Sendable {
  private let shadowed: LiveModel
  private let shadow: LiveModel
  private let metrics: MetricsRegistry
  private var counters: ShadowCounters?
  /// Nil where the bound rows of one version cannot be turned into rows of the other: see ``ShadowMatch``.
  private var parts: (match: ShadowMatch, comparison: ShadowComparison)?

  init(_ shadowed: LiveModel, shadow: LiveModel, metrics: MetricsRegistry) {
    self.shadowed = shadowed
    self.shadow = shadow
    self.metrics = metrics
  }

  var skippedRows: SkippedRows? { counters.map { SkippedRows(busy: $0.busy, incompatible: $0.incompatible) } }

  func prepare() -> BatchKeeping? {
    let (from, to) = (shadowed.compiled, shadow.compiled)
    counters = ShadowCounters(shadow, metrics: metrics)
    guard let match = try? ShadowMatch(from, shadow: to) else { return nil }
    parts = (match, ShadowComparison(from, to))
    return BatchKeeping(
      rowsMax: min(from.plan.rowsMax, to.plan.rowsMax, Limits.shadowRowsMax), isSample: false)
  }

  /// - Returns: the rest of the time, of which shadows have a part. Batches that come meanwhile are left out and counted.
  func work(on batch: BatchMailbox.Batch) -> UInt64 {
    guard let (match, comparison) = parts, let counters else { return 0 }
    let scratch = shadow.workspaces.background
    match.bind(batch.input, rows: batch.rows, into: scratch.workspace.rows)
    let start = Instant.now()
    // On this thread alone: the engine's other threads are for calls whose callers wait.
    shadow.compiled.plan.runAlone(scratch.workspace, rows: batch.rows)
    let microseconds = Instant.now().microseconds(since: start)
    counters.compute.record(microseconds: microseconds)
    counters.add(
      comparison.compare(batch.outputs, scratch.workspace, rows: batch.rows, selection: batch.selection),
      rows: batch.rows)
    let percent = UInt64(Limits.shadowProcessorPercent)
    return min(UInt64(microseconds) * (100 - percent) / percent, UInt64(Limits.shadowPauseMicrosecondsMax))
  }
}

/// One loop's connection from a version to the version that shadows it. It does nothing while there is no shadow.
struct ShadowCopies: ~Copyable {
  private var shadow: LiveModel?
  private var mailbox: BatchMailbox?
  private var runner: BackgroundRunner?

  var isConnected: Bool { mailbox != nil }

  deinit {
    mailbox?.close()
    runner?.wake()
  }

  /// Connects `model` to `shadow`; nil ends the connection.
  mutating func connect(_ model: LiveModel, to shadow: LiveModel?, _ runner: BackgroundRunner) {
    guard shadow !== self.shadow else { return }
    if let mailbox {
      // The background thread then releases both versions.
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
