internal import NeedletailCapture
internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailMetrics
internal import NeedletailModels

/// One loop's way to the workers: their pool, the mailbox that finished calls come back in, and memory for calls.
struct WorkerAccess: ~Copyable {
  let pool: WorkerPool
  let mailbox: Mailbox
  var slab: CallSlab
  /// Calls bound in this tick and not yet submitted.
  var pending: [Unmanaged<QueuedCall>] = []
  /// Finished calls, while their answers are written.
  var finished: [Unmanaged<QueuedCall>] = []

  init(pool: WorkerPool, mailbox: Mailbox) {
    self.pool = pool
    self.mailbox = mailbox
    slab = CallSlab(mailbox: mailbox)
    pending.reserveCapacity(256)
    finished.reserveCapacity(256)
  }

  mutating func submitPending(now: Instant) { pool.submit(&pending, now: now) }

  mutating func emptyMailbox() { mailbox.empty(into: &finished) }

  /// Moves calls that the pool gave back to ``finished``.
  mutating func takeReturned() {
    finished.removeAll(keepingCapacity: true)
    swap(&pending, &finished)
  }
}

extension TickBatcher {
  /// Binds an admitted call into memory of its own and keeps it until the end of the tick, when it is submitted.
  func queue(_ call: PredictCall, _ batch: ModelBatch<Writer.Schema>, _ writer: Writer) throws(ServingError) {
    guard let lane = batch.lane else { preconditionFailure("a call was admitted to a lane that does not exist") }
    let (selection, extent, textBytes) = try check(call, batch, writer)
    let inputFloats = (batch.plan.boundBytes(rows: extent.rows, textBytes: textBytes) + 3) / MemoryLayout<Float>.size
    let collected = keptOutputs(batch, selection)
    let outputFloats = batch.plan.collectedFloats(collected, rows: extent.rows, textBytes: textBytes)
    var capture = batch.capture?.begin(call.tensors) ?? CaptureTicket.unwanted
    var requestFloats = (Int(capture.bytes) + 3) / MemoryLayout<Float>.size
    var taken = workers?.slab.take(
      inputFloats: inputFloats + requestFloats, outputFloats: outputFloats, isLarge: call.address.isLarge)
    if taken == nil, requestFloats > 0 {
      // Where the request has no room beside the rows, the call is answered and not captured.
      capture.state = .busy
      requestFloats = 0
      taken = workers?.slab.take(
        inputFloats: inputFloats, outputFloats: outputFloats, isLarge: call.address.isLarge)
    }
    guard let queued = taken else {
      counters.shed(.memory).add(shard: shard)
      throw lane.shedError
    }
    queued.layOut(inputFloats: inputFloats + requestFloats, outputFloats: outputFloats)
    do throws(ServingError) {
      var used = 0
      try batch.model.compiled.binder.bind(
        call.tensors, rows: 0..<extent.rows, into: batch.plan.rowMemory(at: queued.input, rows: extent.rows),
        textBytesUsed: &used)
    } catch {
      workers?.slab.giveBack(queued)
      throw error
    }
    queued.isCached = false
    let rows = batch.plan.rowMemory(at: queued.input, rows: extent.rows)
    if let key = cacheKey(batch, rows, first: 0, rows: extent.rows, selection: selection) {
      if answerCached(call, key, rows, rows: extent.rows, selection: selection, batch, writer) {
        workers?.slab.giveBack(queued)
        return
      }
      queued.isCached = true
    }
    queued.address = call.address
    queued.arrival = call.arrival
    queued.receiveMicroseconds = call.receiveMicroseconds
    queued.deadline = call.deadline
    queued.priority = call.priority
    queued.selection = selection
    queued.collected = collected
    queued.extent = extent
    capture.offset = inputFloats * MemoryLayout<Float>.size
    queued.capture = capture
    queued.name = name(of: call, batch)
    if capture.state == .kept { RequestRecord.write(call.tensors, to: queued.request) }
    queued.lane = lane
    queued.owner = Unmanaged.passUnretained(batch).toOpaque()
    queued.outcome = .waiting
    workers?.pending.append(.passUnretained(queued))
    lane.admitted(extent)
    batch.callsOut += 1
    callBegan()
  }

  /// Submits the calls of this tick to the workers; calls that find no place are rejected.
  func submit(into writer: Writer) {
    guard workers?.pending.isEmpty == false else { return }
    workers?.submitPending(now: writer.time)
    // What is left there came back.
    guard workers?.pending.isEmpty == false else { return }
    workers?.takeReturned()
    for call in workers?.finished ?? [] {
      call._withUnsafeGuaranteedRef { call in
        call.lane?.left(call.extent)
        call.outcome = .shed
        finish(call, into: writer)
      }
    }
  }

  /// Writes the answers of calls that the workers have finished. The loop calls this after the mailbox woke it.
  public func collect(into writer: Writer) {
    workers?.emptyMailbox()
    guard let count = workers?.finished.count, count > 0 else { return }
    for index in 0..<count {
      guard let call = workers?.finished[index] else { return }
      call._withUnsafeGuaranteedRef { finish($0, into: writer) }
    }
  }

  private func finish(_ call: QueuedCall, into writer: Writer) {
    guard let owner = call.owner else { preconditionFailure("a finished call has no owner") }
    let batch = Unmanaged<ModelBatch<Writer.Schema>>.fromOpaque(owner).takeUnretainedValue()
    batch.callsOut -= 1
    callsEnded(1)
    switch call.outcome {
    case .answered:
      count(
        batch.model.counters, calls: 1, rows: call.extent.rows, call.timing.computeMicroseconds, end: call.computed)
      count(batch.model.counters, received: call.receiveMicroseconds, call.timing)
      let values = batch.pointers.point(at: call.output, rows: call.extent.rows, selection: call.collected)
      writer.answer(
        call.address, batch.schema, rows: call.extent.rows, values: values, selection: call.selection,
        timing: call.timing, memory: call.address.isLarge ? call.memory : nil)
      if call.isCached { keepCached(call, batch) }
      batch.keepAnswers(call, values, shard: shard)
      keptForShadow(batch)
      captured(
        call, .init(call.address, call.name.key, arrival: call.arrival, .ok, call.timing), batch,
        CapturedValues(values: values, selection: call.selection, rows: call.extent.rows))
    case .failed(let error):
      reject(call.address, error, batch, writer)
      captured(call, .init(call.address, call.name.key, arrival: call.arrival, error, at: writer.now()), batch, nil)
    case .expired:
      reject(call.address, Self.expired, batch, writer)
      captured(
        call, .init(call.address, call.name.key, arrival: call.arrival, Self.expired, at: writer.now()), batch, nil)
    case .shed, .waiting:
      counters.shed(.queue).add(shard: shard)
      guard let lane = call.lane else { break }
      reject(call.address, lane.shedError, batch, writer)
      captured(
        call, .init(call.address, call.name.key, arrival: call.arrival, lane.shedError, at: writer.now()), batch, nil)
    }
    workers?.slab.giveBack(call)
  }

  private func captured(
    _ call: QueuedCall, _ end: @autoclosure () -> CapturedEnd, _ batch: ModelBatch<Writer.Schema>,
    _ answer: CapturedValues?
  ) {
    guard let tap = batch.capture else { return }
    tap.end(call.capture, request: call.request, end(), answer)
  }
}
