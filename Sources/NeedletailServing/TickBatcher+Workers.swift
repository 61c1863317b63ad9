internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailMetrics
internal import NeedletailModels

/// What a loop needs to hand calls to the workers.
struct WorkerAccess: ~Copyable {
  let pool: WorkerPool
  let mailbox: Mailbox
  var slab: CallSlab
  /// Bound in this tick and not yet submitted.
  var pending: [Unmanaged<QueuedCall>] = []
  /// Finished calls, while they are handed out.
  var finished: [Unmanaged<QueuedCall>] = []

  init(pool: WorkerPool, mailbox: Mailbox) {
    self.pool = pool
    self.mailbox = mailbox
    slab = CallSlab(mailbox: mailbox)
    pending.reserveCapacity(256)
    finished.reserveCapacity(256)
  }
}

extension TickBatcher {
  /// Whether a call of so many rows is too expensive for the loop.
  func isForWorkers(_ batch: ModelBatch<Sink.Encoder>, rows: Int) -> Bool {
    guard let pool = workers?.pool else { return false }
    return batch.model.cost.nanoseconds(rows: rows) > pool.configuration.inlineNanosecondsMax
  }

  /// Binds a call into room of its own and keeps it for the end of the tick, when it is submitted.
  func queue(
    _ call: PredictCall, rows: Int, selection: UInt64, _ batch: ModelBatch<Sink.Encoder>
  ) throws(ServingError) {
    let lane = lane(of: batch)
    if let obstacle = lane.obstacle(rows: rows, priority: call.priority) {
      counters.shed(.queue).add(shard: shard)
      throw obstacle
    }
    let inputFloats = rows * batch.plan.inputColumns
    let outputFloats = rows * batch.plan.collectedFloatsPerRow(selection)
    guard let queued = workers?.slab.take(floats: inputFloats + outputFloats) else {
      counters.shed(.memory).add(shard: shard)
      throw lane.shedError
    }
    queued.layOut(inputFloats: inputFloats, outputFloats: outputFloats)
    do throws(ServingError) {
      try batch.model.compiled.binder.bind(call.tensors, rows: 0..<rows, into: queued.input)
    } catch {
      workers?.slab.giveBack(queued)
      throw error
    }
    queued.address = call.address
    queued.arrival = call.arrival
    queued.receiveMicroseconds = call.receiveMicroseconds
    queued.deadline = call.deadline
    queued.priority = call.priority
    queued.selection = selection
    queued.rows = rows
    queued.lane = lane
    queued.owner = Unmanaged.passUnretained(batch).toOpaque()
    queued.outcome = .waiting
    workers?.pending.append(.passUnretained(queued))
    lane.admitted(rows: rows)
    batch.callsOut += 1
    callBegan()
  }

  private func lane(of batch: ModelBatch<Sink.Encoder>) -> WorkerLane {
    if let lane = batch.lane { return lane }
    guard let pool = workers?.pool else { preconditionFailure("a call for workers where there are none") }
    let lane = pool.lane(for: batch.model)
    batch.join(lane, of: pool)
    return lane
  }

  /// Hands the workers what the tick brought in; what finds no place is refused.
  func submit(into sink: Sink) {
    guard workers?.pending.isEmpty == false else { return }
    workers?.submitPending(now: sink.time)
    guard workers?.pending.isEmpty == false else { return }
    // What is left there came back.
    swapPending()
    for call in workers?.finished ?? [] {
      call._withUnsafeGuaranteedRef { call in
        call.lane?.left(rows: call.rows)
        call.outcome = .shed
        settle(call, into: sink)
      }
    }
  }

  private func swapPending() {
    workers?.finished.removeAll(keepingCapacity: true)
    workers?.swapLists()
  }

  /// Hands out what the workers have finished. The mailbox's wake-up asks for it, on this loop.
  public func collect(into sink: Sink) {
    workers?.emptyMailbox()
    guard let count = workers?.finished.count, count > 0 else { return }
    for index in 0..<count {
      guard let call = workers?.finished[index] else { return }
      call._withUnsafeGuaranteedRef { settle($0, into: sink) }
    }
  }

  private func settle(_ call: QueuedCall, into sink: Sink) {
    guard let owner = call.owner else { preconditionFailure("a finished call that nobody owns") }
    let batch = Unmanaged<ModelBatch<Sink.Encoder>>.fromOpaque(owner).takeUnretainedValue()
    batch.callsOut -= 1
    callsEnded(1)
    switch call.outcome {
    case .answered:
      count(
        batch.model.counters, calls: 1, rows: call.rows, call.timing.computeMicroseconds, end: call.computed)
      count(batch.model.counters, received: call.receiveMicroseconds, call.timing)
      let values = batch.pointers.point(at: call.output, rows: call.rows, selection: call.selection)
      sink.answer(
        call.address, batch.encoder, rows: call.rows, values: values, selection: call.selection, timing: call.timing)
      batch.keepForShadow(call, values, shard: shard)
    case .expired:
      refuse(call.address, Self.expired, batch, sink)
    case .shed, .waiting:
      counters.shed(.queue).add(shard: shard)
      if let lane = call.lane { refuse(call.address, lane.shedError, batch, sink) }
    }
    workers?.slab.giveBack(call)
  }
}

extension WorkerAccess {
  mutating func submitPending(now: Instant) { pool.submit(&pending, now: now) }
  mutating func swapLists() { swap(&pending, &finished) }
  mutating func emptyMailbox() { mailbox.empty(into: &finished) }
}
