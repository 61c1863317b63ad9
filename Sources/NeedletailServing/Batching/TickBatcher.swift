public import NeedletailCore
internal import NeedletailEngine
internal import NeedletailMetrics
public import NeedletailModels

/// Makes one batch per version of all calls that one tick, a turn of an event loop, brought in.
///
/// ``decide(_:into:)`` admits or rejects a call by its head. ``bind(_:_:into:)`` writes an admitted call's rows into
/// the scratch of the version's plan, so that nothing of the call's bytes needs to live on. ``run(into:)``, at the end
/// of the tick, computes what was bound and writes the answers. Scratch that fills up earlier is run at once. No call
/// waits for others to come, and there is no timer.
///
/// One lease on the table of models spans a tick: all its calls see the same versions. Confined to one loop, and
/// allocation-free once every version was seen. It knows no sockets: a test or a simulator drives it with a
/// ``ResponseWriter`` of its own.
public final class TickBatcher<Writer: ResponseWriter> {
  private let reader: RegistryReader
  let counters: ServingCounters
  let shard: Int
  let rowsMax: Int
  private let background: BackgroundRunner?
  let keeper: CallKeeper
  let cache: ResponseCache?
  /// Lease on the table of models, held from a tick's first call to its end.
  var lease: ModelLease?
  /// Batches by their version's ``LiveModel/slot``, so that a call's is found without a search.
  private var batches: [ModelBatch<Writer.Schema>?] = []
  /// Slots of batches in which calls were bound since the last run.
  private var bound: [Int] = []
  /// Slots of batches that may have copies for a shadow.
  private var copied: [Int] = []
  /// Slots of batches that hold memory for the outputs of large calls.
  private var collecting: [Int] = []
  /// Way to the workers; nil: every plan runs on the loop.
  var workers: WorkerAccess?
  var shedder: LoadShedder
  /// Estimated cost of what is bound and not yet run, by what warming measured.
  private(set) var pendingNanoseconds: UInt64 = 0
  /// Estimated cost of all that the tick has taken on.
  private(set) var tickNanoseconds: UInt64 = 0
  /// Generation of the table that the lease was last taken on.
  private var generation: UInt64 = 0
  /// Slot of the batch that is compared with the table next.
  private var sweepNext = 0
  /// Whether a batch that has left the table waits for its calls.
  private var isSweepIncomplete = false
  /// Answers written and not yet handed to sockets.
  var unsent: [UnsentAnswers] = []
  /// Number of calls bound and not yet answered.
  public internal(set) var callsPending = 0

  /// - Parameters:
  ///   - reader: this loop's own.
  ///   - shard: shard of the metrics, this loop's own.
  ///   - rowsMax: largest number of rows of one call.
  ///   - background: runs copies of calls on shadow versions and counts sampled rows for live statistics; nil: nobody
  ///     does.
  ///   - keeping: captures calls, and remembers predictions.
  ///   - cache: keeps answers, this loop's own; nil: nobody does.
  ///   - workers: pool for plans too expensive for the loop, and the mailbox that their answers arrive in.
  ///   - tickNanosecondsTarget: target of ``LoadShedder``.
  public init(
    reader: RegistryReader, counters: ServingCounters, shard: Int, rowsMax: Int,
    background: BackgroundRunner? = nil, keeping: CallKeeping = CallKeeping(), cache: ResponseCache? = nil,
    workers: (pool: WorkerPool, mailbox: Mailbox)? = nil,
    tickNanosecondsTarget: UInt64 = Limits.tickNanosecondsTargetDefault, now: Instant = .now()
  ) {
    self.background = background
    keeper = CallKeeper(keeping, shard: shard)
    self.cache = cache
    self.reader = reader
    self.counters = counters
    self.shard = shard
    self.rowsMax = rowsMax
    if let workers { self.workers = WorkerAccess(pool: workers.pool, mailbox: workers.mailbox) }
    shedder = LoadShedder(targetNanoseconds: tickNanosecondsTarget, now: now)
    unsent.reserveCapacity(64)
    bound.reserveCapacity(64)
    copied.reserveCapacity(64)
  }

  // MARK: binding

  /// Checks an admitted call's tensors and binds its rows, or rejects it alone: the other calls of the tick go on.
  /// - Parameter decision: from ``decide(_:into:)`` in this tick; not a rejection.
  /// - Complexity: O(bytes of the call).
  public func bind(_ call: PredictCall, _ decision: AdmissionDecision<Writer.Schema>, into writer: Writer) {
    switch decision.outcome {
    case .run(let batch):
      do throws(ServingError) {
        try bind(call, batch, writer)
      } catch {
        reject(call, error, batch, writer)
      }
    case .queue(let batch):
      do throws(ServingError) {
        try queue(call, batch, writer)
      } catch {
        reject(call, error, batch, writer)
      }
    case .reject: preconditionFailure("a rejected call was bound")
    }
  }

  private func bind(_ call: PredictCall, _ batch: ModelBatch<Writer.Schema>, _ writer: Writer) throws(ServingError) {
    let (selection, extent, textBytes) = try check(call, batch, writer)
    if !batch.hasRoom(for: extent, textBytes: textBytes) { run(batch, into: writer) }
    let nanoseconds = estimate(batch, calls: 1, extent)
    if !batch.hasRoom(for: extent, textBytes: textBytes) {
      tickNanoseconds &+= nanoseconds
      if nanoseconds > Limits.readyAnswersWaitNanoseconds { writer.flush() }
      try runAlone(call, rows: extent.rows, textBytes: textBytes, selection: selection, batch, writer)
      return
    }
    try batch.bind(call.tensors, rows: extent.rows)
    var ticket = AnswerRing.Ticket.none
    if let key = cacheKey(
      batch, batch.boundRows, first: batch.extent.rows, rows: extent.rows, selection: selection)
    {
      let first = batch.extent.rows
      if answerCached(
        call, key, batch.boundRows, first: first, rows: extent.rows, selection: selection, batch, writer)
      {
        return batch.unbind(textBytes: textBytes)
      }
      let floats = extent.rows * batch.plan.collectedFloatsPerRow(keptOutputs(batch, selection))
      ticket = cache?.begin(key, floats: floats) ?? .none
    }
    if !batch.isListed {
      batch.isListed = true
      bound.append(batch.model.slot)
    }
    batch.append(
      BoundCall(
        address: call.address, arrival: call.arrival, receiveMicroseconds: call.receiveMicroseconds,
        deadline: call.deadline, selection: selection, firstRow: batch.extent.rows, extent: extent,
        capture: batch.capture?.keep(call.tensors) ?? CaptureTicket.unwanted, cacheTicket: ticket,
        name: name(of: call, batch)))
    // Calls that failed while they were bound are no work.
    pendingNanoseconds &+= nanoseconds
    tickNanoseconds &+= nanoseconds
    callBegan()
  }

  /// Outputs, extent and bytes of texts of a call whose tensors and answer are within their bounds.
  func check(
    _ call: PredictCall, _ batch: ModelBatch<Writer.Schema>, _ writer: Writer
  ) throws(ServingError) -> (selection: UInt64, extent: BatchExtent, textBytes: Int) {
    let selection = try writer.selection(of: call.outputs, batch.schema)
    let (extent, textBytes) = try batch.model.compiled.binder.size(of: call.tensors, max: BatchExtent(rows: rowsMax))
    if batch.answerSize.bytes(rows: extent.rows, textBytes: textBytes) > Limits.answerBytesMax {
      try batch.answerSize.check(rows: extent.rows, textBytes: textBytes, selection: selection)
    }
    return (selection, extent, textBytes)
  }

  // MARK: batches

  /// The loop's batch for a version of the table that the lease is on; made by the first call.
  /// - Complexity: O(1).
  func batch(for model: Unmanaged<LiveModel>, _ writer: Writer) -> ModelBatch<Writer.Schema> {
    let slot = model._withUnsafeGuaranteedRef { $0.slot }
    // A batch keeps its version, and with it the version's slot: whatever stands there is of this version.
    guard slot < batches.count, let batch = batches[slot] else {
      return addBatch(for: model.takeUnretainedValue(), writer)
    }
    if batch.generation != generation { connect(batch) }
    return batch
  }

  private func addBatch(for model: LiveModel, _ writer: Writer) -> ModelBatch<Writer.Schema> {
    let batch = ModelBatch(
      model, schema: writer.makeSchema(for: model), shard: shard, background: background,
      capture: keeper.captureTap(for: model), feedback: keeper.feedbackTap(for: model))
    batch.cacheVersion = cache?.register(model) ?? 0
    connect(batch)
    while batches.count <= model.slot { batches.append(nil) }
    batches[model.slot] = batch
    return batch
  }

  /// Connects a batch to the version that the present table has for its copies.
  private func connect(_ batch: ModelBatch<Writer.Schema>) {
    batch.generation = generation
    if let background { batch.connect(shadow: lease?.shadow(of: batch.model), background) }
  }

  /// Notes that a batch may have copies for its shadow.
  func keptForShadow(_ batch: ModelBatch<Writer.Schema>) {
    if batch.isShadowed { copied.append(batch.model.slot) }
  }

  /// Computes all calls that were bound since the last run, writes their answers and ends the tick.
  public func run(into writer: Writer) {
    for index in bound.indices {
      guard let batch = batches[bound[index]] else { continue }
      batch.isListed = false
      if batch.extent.rows > 0 { run(batch, into: writer) }
    }
    bound.removeAll(keepingCapacity: true)
    pendingNanoseconds = 0
    submit(into: writer)
    keeper.endTick()
    shedder.end(now: writer.time, workNanoseconds: tickNanoseconds)
    tickNanoseconds = 0
    // Ends the lease: versions that left the table may be freed.
    lease = nil
  }

  /// Notes that all answers written so far were handed to their sockets.
  public func sent(at now: Instant) {
    for answers in unsent {
      answers.counters.sendDuration.record(
        microseconds: now.microseconds(since: answers.computed), count: answers.calls, shard: shard)
    }
    unsent.removeAll(keepingCapacity: true)
  }

  /// Whether ``sent(at:)`` should be called after the next flush.
  public var hasUnsent: Bool { !unsent.isEmpty }

  /// Hands copies of computed calls to shadow versions. Called after the answers have gone out.
  public func feedShadows() {
    guard !copied.isEmpty else { return }
    for slot in copied { batches[slot]?.sendToShadow() }
    copied.removeAll(keepingCapacity: true)
  }

  /// Lets go of versions that have left the table, and frees memory that large calls left behind. Called between ticks,
  /// so that an idle loop holds no memory of a retired version.
  public func sweep() {
    guard lease == nil else { return }
    if isSweepIncomplete, sweepNext >= batches.count {
      isSweepIncomplete = false
      sweepNext = 0
    }
    takeLease()
    sweepBatches(count: batches.count)
    lease = nil
    collecting.removeAll { slot in
      guard let batch = batches[slot] else { return true }
      batch.collected.trim()
      return batch.collected.floats.isEmpty
    }
    workers?.slab.trim()
  }

  func beginTick(at now: Instant) {
    shedder.begin(now: now)
    takeLease()
  }

  private func takeLease() {
    let lease = reader.lease()
    let newest = lease.generation
    self.lease = consume lease
    if newest != generation {
      generation = newest
      sweepNext = 0
    }
    if sweepNext < batches.count { sweepBatches(count: Limits.batchesSweptPerTick) }
  }

  /// Compares the next batches with the table, and lets go of versions that have left it. A table of thousands of
  /// versions is compared over many ticks, so that no call waits for all of them.
  private func sweepBatches(count: Int) {
    let end = min(batches.count, sweepNext + count)
    while sweepNext < end {
      defer { sweepNext += 1 }
      guard let batch = batches[sweepNext], batch.generation != generation else { continue }
      if lease?.isLive(batch.model) == true {
        connect(batch)
      } else if batch.callsOut == 0 {
        let model = batch.model
        batches[sweepNext] = nil
        model.handOver()
      } else {
        // A version lives from the admission of its calls to their answers.
        isSweepIncomplete = true
      }
    }
  }

  /// Estimated cost of calls of one version, by what runs of it took.
  private func estimate(_ batch: ModelBatch<Writer.Schema>, calls: Int, _ extent: BatchExtent) -> UInt64 {
    batch.model.marginalNanoseconds(of: extent) &+ UInt64(calls) &* Limits.callNanoseconds
  }

  private func run(_ batch: ModelBatch<Writer.Schema>, into writer: Writer) {
    let nanoseconds = estimate(batch, calls: batch.calls.count, batch.extent)
    if nanoseconds > Limits.readyAnswersWaitNanoseconds { writer.flush() }
    pendingNanoseconds -= min(pendingNanoseconds, nanoseconds)
    let start = writer.now()
    batch.dropExpired(at: start) { call in
      callsEnded(1)
      reject(call.address, Self.expired, batch, writer)
      let ended = CapturedEnd(call.address, call.name.key, arrival: call.arrival, Self.expired, at: start)
      batch.capture?.end(call.capture, ended, nil)
    }
    let rows = batch.extent.rows
    guard rows > 0 else { return }
    batch.compute(shard: shard)
    let end = writer.now()
    let computeMicroseconds = end.microseconds(since: start)
    batch.ran(batch.extent, nanoseconds: end.nanoseconds &- start.nanoseconds)
    batch.countNonFinite(rows: rows, shard: shard)
    callsEnded(batch.calls.count)
    batch.model.counters.batchRows.record(items: rows, shard: shard)
    count(batch.model.counters, calls: batch.calls.count, rows: rows, computeMicroseconds, end: end)
    for index in batch.calls.indices {
      let call = batch.calls[index]
      if let error = batch.textError(call) {
        reject(call.address, error, batch, writer)
        batch.capture?.end(
          call.capture, CapturedEnd(call.address, call.name.key, arrival: call.arrival, error, at: end), nil)
        continue
      }
      let timing = AnswerTiming(
        queueMicroseconds: start.microseconds(since: call.arrival), computeMicroseconds: computeMicroseconds,
        batchRows: UInt32(clamping: rows))
      count(batch.model.counters, received: call.receiveMicroseconds, timing)
      keepCached(call, batch)
      batch.countClasses(from: call.firstRow, rows: call.extent.rows, shard: shard)
      let values = batch.outputs(from: call.firstRow)
      writer.answer(
        call.address, batch.schema, rows: call.extent.rows, values: values, selection: call.selection, timing: timing,
        memory: nil)
      let answer = CapturedValues(values: values, selection: call.selection, rows: call.extent.rows)
      batch.capture?.end(
        call.capture, CapturedEnd(call.address, call.name.key, arrival: call.arrival, .ok, timing), answer)
      batch.feedback?.remember(call.name, arrival: call.arrival, answer, first: call.firstRow)
    }
    batch.keepAnswers()
    keptForShadow(batch)
    batch.removeAll()
  }

  /// Computes a call of more rows than one run of the plan takes: run after run, its outputs collected until they are
  /// whole.
  private func runAlone(
    _ call: PredictCall, rows: Int, textBytes: Int, selection: UInt64, _ batch: ModelBatch<Writer.Schema>,
    _ writer: Writer
  ) throws(ServingError) {
    let plan = batch.plan
    let start = writer.now()
    if batch.collected.floats.isEmpty { collecting.append(batch.model.slot) }
    let collected = batch.collected.reserve(plan.collectedFloats(selection, rows: rows, textBytes: textBytes))
    var row = 0
    while row < rows {
      guard !call.deadline.hasPassed(at: writer.now()) else { throw Self.expired }
      let count = try batch.compute(from: row, of: rows, call.tensors)
      batch.countNonFinite(rows: count, shard: shard)
      batch.countClasses(from: 0, rows: count, shard: shard)
      batch.collect(count: count, selection: selection, into: collected, at: row, of: rows)
      row += count
    }
    let end = writer.now()
    let timing = AnswerTiming(
      queueMicroseconds: start.microseconds(since: call.arrival),
      computeMicroseconds: end.microseconds(since: start), batchRows: UInt32(clamping: rows))
    batch.model.counters.batchRows.record(items: rows, shard: shard)
    count(batch.model.counters, calls: 1, rows: rows, timing.computeMicroseconds, end: end)
    count(batch.model.counters, received: call.receiveMicroseconds, timing)
    batch.skipShadow(rows: rows, shard: shard)
    let values = batch.pointers.point(at: collected, rows: rows, selection: selection)
    writer.answer(
      call.address, batch.schema, rows: rows, values: values, selection: selection, timing: timing, memory: nil)
    let name = name(of: call, batch)
    batch.feedback?.skip(name)
    batch.capture?.end(
      call.tensors, CapturedEnd(call.address, name.key, arrival: call.arrival, .ok, timing),
      CapturedValues(values: values, selection: selection, rows: rows))
  }
}
