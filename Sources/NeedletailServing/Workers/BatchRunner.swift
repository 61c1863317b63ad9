internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailMetrics
internal import NeedletailModels

/// Runs batches on one worker's thread: copies rows from the calls into a workspace, runs the plan, and copies answers
/// from there into the calls. Confined to its worker.
final class BatchRunner {
  typealias Call = Unmanaged<QueuedCall>

  private let shard: Int
  private var posted: [Call] = []

  init(shard: Int) {
    self.shard = shard
    posted.reserveCapacity(256)
  }

  /// - Returns: nanoseconds that the batch took; 0 if every deadline had passed.
  func run(_ calls: [Call], _ lane: WorkerLane, _ box: WorkspaceSet.Member) -> UInt64 {
    let start = Instant.now()
    var rows = 0
    for call in calls {
      call._withUnsafeGuaranteedRef { call in
        // The last check before the call is computed.
        guard !call.deadline.hasPassed(at: start) else {
          call.outcome = .expired
          return
        }
        call.outcome = .answered
        guard call.extent.fits(in: lane.plan.extentMax) else { return }
        // The bytes of its texts stay with the call, which is here until the run is over.
        lane.plan.copyRows(
          from: lane.plan.rowMemory(at: call.input, rows: call.extent.rows), at: 0, count: call.extent.rows,
          to: box.workspace.rows, at: rows)
        rows += call.extent.rows
      }
    }
    if rows > 0 {
      lane.plan.run(box.workspace, rows: rows)
      finish(calls, lane, box, rows: rows, start: start)
    } else if let call = calls.first {
      let isAnswered = call._withUnsafeGuaranteedRef { call in
        runAlone(call, lane, box, start: start)
        return if case .answered = call.outcome { true } else { false }
      }
      guard isAnswered else { return 0 }
    }
    return Instant.now().nanoseconds - start.nanoseconds
  }

  private func finish(_ calls: [Call], _ lane: WorkerLane, _ box: WorkspaceSet.Member, rows: Int, start: Instant) {
    let end = Instant.now()
    countNonFinite(lane, box, rows: rows)
    lane.model.counters.batchRows.record(items: rows, shard: shard)
    var row = 0
    for call in calls {
      call._withUnsafeGuaranteedRef { call in
        guard case .answered = call.outcome else { return }
        defer { row += call.extent.rows }
        if let error = lane.plan.textError(box.workspace, rows: row..<row + call.extent.rows) {
          call.outcome = .failed(error)
          return
        }
        lane.model.counters.classes?.count(box.workspace, from: row, rows: call.extent.rows, shard: shard)
        lane.plan.collect(
          box.workspace, from: row, count: call.extent.rows, selection: call.collected, into: call.output, at: 0,
          of: call.extent.rows)
        stamp(call, start: start, end: end, batchRows: rows)
      }
    }
  }

  /// Computes a call of more rows than one run takes: a batch of its own, run after run.
  private func runAlone(_ call: QueuedCall, _ lane: WorkerLane, _ box: WorkspaceSet.Member, start: Instant) {
    guard case .answered = call.outcome else { return }
    let bound = lane.plan.rowMemory(at: call.input, rows: call.extent.rows)
    var row = 0
    while row < call.extent.rows {
      guard !call.deadline.hasPassed(at: .now()) else {
        call.outcome = .expired
        return
      }
      let count = lane.plan.rowsOfRun(bound, from: row, of: call.extent.rows)
      lane.plan.copyRows(from: bound, at: row, count: count, to: box.workspace.rows, at: 0)
      lane.plan.run(box.workspace, rows: count)
      if let error = lane.plan.textError(box.workspace, rows: 0..<count, first: row) {
        call.outcome = .failed(error)
        return
      }
      countNonFinite(lane, box, rows: count)
      lane.model.counters.classes?.count(box.workspace, from: 0, rows: count, shard: shard)
      lane.plan.collect(
        box.workspace, from: 0, count: count, selection: call.collected, into: call.output, at: row,
        of: call.extent.rows)
      row += count
    }
    lane.model.counters.batchRows.record(items: call.extent.rows, shard: shard)
    stamp(call, start: start, end: .now(), batchRows: call.extent.rows)
  }

  private func stamp(_ call: QueuedCall, start: Instant, end: Instant, batchRows: Int) {
    call.computed = end
    call.timing = AnswerTiming(
      queueMicroseconds: start.microseconds(since: call.arrival),
      computeMicroseconds: end.microseconds(since: start), batchRows: UInt32(clamping: batchRows))
  }

  private func countNonFinite(_ lane: WorkerLane, _ box: WorkspaceSet.Member, rows: Int) {
    let found = lane.plan.nonFiniteOutputs(box.workspace, rows: rows)
    if found > 0 { lane.model.counters.nonFinite.add(UInt64(found), shard: shard) }
  }

  // MARK: back to the loops

  /// Gives dropped calls back to their loops.
  func post(_ dropped: [(ticket: Call, reason: WorkDrop)]) {
    posted.removeAll(keepingCapacity: true)
    for call in dropped { posted.append(call.ticket) }
    post()
  }

  /// Gives finished calls back to their loops.
  func post(_ calls: [Call]) {
    posted.removeAll(keepingCapacity: true)
    posted.append(contentsOf: calls)
    post()
  }

  /// Posts to each mailbox once. After that the calls belong to the loops again and must not be touched.
  private func post() {
    while let first = posted.last {
      let mailbox = first._withUnsafeGuaranteedRef { $0.mailbox }
      var others = 0
      var mine = posted.count
      // Calls of this mailbox move to the end.
      var index = 0
      while index < mine {
        if posted[index]._withUnsafeGuaranteedRef({ $0.mailbox === mailbox }) {
          mine -= 1
          posted.swapAt(index, mine)
        } else {
          index += 1
          others += 1
        }
      }
      mailbox.post(posted[mine...])
      posted.removeLast(posted.count - others)
    }
  }
}
