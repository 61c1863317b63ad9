internal import NeedletailEngine
internal import NeedletailMetrics
internal import NeedletailModels

/// One loop's connection from a version to the one that shadows it; does nothing while there is none.
struct ShadowCopies: ~Copyable {
  private var shadow: LiveModel?
  private var mailbox: ShadowMailbox?
  private var counters: ShadowCounters?
  private var runner: ShadowRunner?

  deinit {
    mailbox?.close()
    runner?.wake()
  }

  mutating func connect(_ model: LiveModel, to shadow: LiveModel?, _ runner: ShadowRunner) {
    guard shadow !== self.shadow else { return }
    if let mailbox {
      // The thread lets go of both versions.
      mailbox.close()
      runner.wake()
    }
    self.runner = runner
    self.shadow = shadow
    mailbox = shadow.flatMap { runner.mailbox(from: model, to: $0) }
    counters = shadow.map { runner.counters(of: $0) }
  }

  func takeInput(_ workspace: borrowing Workspace, rows: Int, shard: Int) {
    guard shadow != nil else { return }
    if let mailbox {
      mailbox.takeInput(workspace, rows: rows, shard: shard)
    } else {
      counters?.incompatible.add(UInt64(rows), shard: shard)
    }
  }

  func takeOutputs(_ workspace: borrowing Workspace) { mailbox?.takeOutputs(workspace) }

  /// What a worker computed, both at once.
  func take(
    input: UnsafePointer<Float>, outputs: UnsafeBufferPointer<UnsafePointer<Float>>, selection: UInt64, rows: Int,
    shard: Int
  ) {
    guard shadow != nil else { return }
    if let mailbox {
      mailbox.take(input: input, outputs: outputs, selection: selection, rows: rows, shard: shard)
    } else {
      counters?.incompatible.add(UInt64(rows), shard: shard)
    }
  }

  func send() {
    if mailbox?.send() == true { runner?.wake() }
  }

  func skip(rows: Int, shard: Int) { counters?.busy.add(UInt64(rows), shard: shard) }
}
