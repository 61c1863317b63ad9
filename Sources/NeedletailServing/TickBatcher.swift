public import NeedletailCore
internal import NeedletailEngine
internal import NeedletailMetrics
public import NeedletailModels

/// Makes one batch per version of all the calls that one wake-up of an event loop brought in.
///
/// ``admit(_:into:)`` binds a call's rows straight into the scratch of the version's plan, so nothing of
/// the call needs to live on; ``run(into:)``, at the end of the tick, computes what was bound and hands
/// out the answers. A version's scratch that fills up before is run at once. Nobody waits for anybody,
/// and there is no timer.
///
/// One lease on the table of models spans a tick: all its calls see the same versions. Confined to one
/// loop, and allocation-free once every version was seen.
public final class TickBatcher<Sink: AnswerSink> {
  private let reader: RegistryReader
  let counters: ServingCounters
  let shard: Int
  let rowsMax: Int
  private let shadows: ShadowRunner?
  /// Held from a tick's first call to its end.
  var lease: ModelLease?
  private var batches: [ModelBatch<Sink.Encoder>] = []
  /// Nil: every plan runs on the loop.
  var workers: WorkerAccess?
  var governor: TickGovernor
  /// What the rows that are bound and not yet run will cost, by what warming measured.
  private(set) var pendingNanoseconds: UInt64 = 0
  /// The same of all that the tick has taken on.
  private(set) var tickNanoseconds: UInt64 = 0
  /// Of the table that `batches` was last compared with.
  private var sweptGeneration: UInt64 = 0
  /// Answers made and not yet handed to sockets.
  private var unsent: [UnsentAnswers] = []
  /// Calls bound and not yet answered.
  public private(set) var callsPending = 0

  /// - Parameters:
  ///   - reader: this loop's own.
  ///   - shard: of the metrics, this loop's own.
  ///   - rowsMax: rows of one call.
  ///   - shadows: runs copies for shadow versions; nil: nobody does.
  ///   - workers: for plans too expensive for the loop, and where their answers arrive.
  ///   - tickNanosecondsTarget: of ``TickGovernor``.
  public init(
    reader: RegistryReader, counters: ServingCounters, shard: Int, rowsMax: Int, shadows: ShadowRunner? = nil,
    workers: (pool: WorkerPool, mailbox: Mailbox)? = nil,
    tickNanosecondsTarget: UInt64 = Limits.tickNanosecondsTargetDefault, now: Instant = .now()
  ) {
    self.shadows = shadows
    self.reader = reader
    self.counters = counters
    self.shard = shard
    self.rowsMax = rowsMax
    if let workers { self.workers = WorkerAccess(pool: workers.pool, mailbox: workers.mailbox) }
    governor = TickGovernor(targetNanoseconds: tickNanosecondsTarget, now: now)
    unsent.reserveCapacity(64)
  }

  // MARK: admission

  /// Checks and binds one call, or refuses it alone: the others of the tick go on.
  /// - Complexity: O(bytes of the call).
  public func admit(_ call: PredictCall, into sink: Sink) {
    guard !call.deadline.hasPassed(at: sink.time) else {
      counters.unresolved(.deadlineExceeded).add(shard: shard)
      sink.refuse(call.address, Self.expired)
      return
    }
    let batch: ModelBatch<Sink.Encoder>
    do throws(ServingError) {
      batch = try self.batch(for: call, sink: sink)
    } catch {
      counters.unresolved(error.code).add(shard: shard)
      sink.refuse(call.address, error)
      return
    }
    do throws(ServingError) {
      try bind(call, batch, sink)
    } catch {
      refuse(call.address, error, batch, sink)
    }
  }

  private func bind(_ call: PredictCall, _ batch: ModelBatch<Sink.Encoder>, _ sink: Sink) throws(ServingError) {
    let selection = try sink.selection(of: call.outputs, batch.encoder)
    let binder = batch.model.compiled.binder
    let rows = try binder.rows(of: call.tensors, rowsMax: rowsMax)
    let answerBytes = batch.answerBytes(rows: rows, selection: selection)
    guard answerBytes <= Limits.answerBytesMax else {
      throw .invalidArgument(
        "rows: expected an answer of at most \(Limits.answerBytesMax) bytes, found \(answerBytes) for \(rows) rows")
    }
    if isForWorkers(batch, rows: rows) {
      try queue(call, rows: rows, selection: selection, batch)
      return
    }
    if let obstacle = tickObstacle(at: sink.time) {
      counters.shed(.tick).add(shard: shard)
      throw obstacle
    }
    if rows > batch.room { run(batch, into: sink) }
    let nanoseconds = estimate(batch, calls: 1, rows: rows)
    if rows > batch.room {
      tickNanoseconds &+= nanoseconds
      if nanoseconds > Limits.readyAnswersWaitNanoseconds { sink.sendReady() }
      try runAlone(call, rows: rows, selection: selection, batch, sink)
      return
    }
    try binder.bind(call.tensors, rows: 0..<rows, into: batch.nextRow)
    batch.append(
      PredictJob(
        address: call.address, arrival: call.arrival, receiveMicroseconds: call.receiveMicroseconds,
        deadline: call.deadline, selection: selection, firstRow: batch.rows, rows: rows))
    // What is wrong and was refused while binding is no work.
    pendingNanoseconds &+= nanoseconds
    tickNanoseconds &+= nanoseconds
    callBegan()
  }

  /// The loop's scratch for the version that `call` asks for.
  private func batch(for call: PredictCall, sink: Sink) throws(ServingError) -> ModelBatch<Sink.Encoder> {
    if lease == nil { beginTick(at: sink.time) }
    let wanted = try lease!.borrowedModel(
      named: call.model, selector: call.selector, routingKey: call.routingKey)
    if let batch = knownBatch(wanted) { return batch }
    let model = wanted.takeUnretainedValue()
    let batch = ModelBatch(model, encoder: sink.makeEncoder(for: model))
    if let shadows { batch.connect(shadow: lease!.shadow(of: model), shadows) }
    batches.append(batch)
    return batch
  }

  func knownBatch(_ model: Unmanaged<LiveModel>) -> ModelBatch<Sink.Encoder>? {
    for batch in batches where Unmanaged.passUnretained(batch.model).toOpaque() == model.toOpaque() { return batch }
    return nil
  }

  // MARK: ticks

  /// Computes all that was admitted since the last run, hands out the answers and ends the tick.
  public func run(into sink: Sink) {
    for batch in batches where batch.rows > 0 { run(batch, into: sink) }
    pendingNanoseconds = 0
    submit(into: sink)
    governor.end(now: sink.time, workNanoseconds: tickNanoseconds)
    tickNanoseconds = 0
    // Ends the lease: versions that left the table may be freed.
    lease = nil
  }

  /// Tells that all answers made so far were handed to their sockets.
  public func sent(at now: Instant) {
    for answers in unsent {
      answers.counters.sendDuration.record(
        microseconds: now.microseconds(since: answers.computed), count: answers.calls, shard: shard)
    }
    unsent.removeAll(keepingCapacity: true)
  }

  /// Whether ``sent(at:)`` is owed.
  public var hasUnsent: Bool { !unsent.isEmpty }

  /// Hands copies of what was computed to shadow versions: after the answers have gone out.
  public func feedShadows() {
    guard shadows != nil else { return }
    for batch in batches { batch.sendToShadow() }
  }

  /// Drops scratch of versions that have left the table, and what large calls left behind; between ticks,
  /// so that an idle loop holds no memory of a retired version.
  public func sweep() {
    guard lease == nil else { return }
    sweptGeneration = 0
    takeLease()
    lease = nil
    for batch in batches { batch.collected.trim() }
    workers?.slab.trim()
  }

  func beginTick(at now: Instant) {
    governor.begin(now: now)
    takeLease()
  }

  private func takeLease() {
    let lease = reader.lease()
    let table = lease.table
    if table.generation != sweptGeneration {
      // Scratch stays while calls are out: the version lives from their admission to their answers.
      batches.removeAll { batch in
        batch.callsOut == 0
          && !table.entries.contains { $0.model == batch.model.model && $0.live.contains { $0 === batch.model } }
      }
      if let shadows { for batch in batches { batch.connect(shadow: table.shadow(of: batch.model), shadows) } }
      sweptGeneration = table.generation
    }
    self.lease = consume lease
  }

  /// What calls of one version cost, by what warming measured.
  private func estimate(_ batch: ModelBatch<Sink.Encoder>, calls: Int, rows: Int) -> UInt64 {
    batch.model.cost.marginalNanoseconds(rows: rows) &+ UInt64(calls) &* Limits.callNanoseconds
  }

  private func run(_ batch: ModelBatch<Sink.Encoder>, into sink: Sink) {
    let nanoseconds = estimate(batch, calls: batch.jobs.count, rows: batch.rows)
    if nanoseconds > Limits.readyAnswersWaitNanoseconds { sink.sendReady() }
    pendingNanoseconds -= min(pendingNanoseconds, nanoseconds)
    let start = sink.now()
    batch.dropExpired(at: start) { job in
      callsEnded(1)
      refuse(job.address, Self.expired, batch, sink)
    }
    let rows = batch.rows
    guard rows > 0 else { return }
    batch.compute(shard: shard)
    let end = sink.now()
    let computeMicroseconds = end.microseconds(since: start)
    batch.countNonFinite(rows: rows, shard: shard)
    callsEnded(batch.jobs.count)
    batch.model.counters.batchRows.record(items: rows, shard: shard)
    count(batch.model.counters, calls: batch.jobs.count, rows: rows, computeMicroseconds, end: end)
    for index in batch.jobs.indices {
      let job = batch.jobs[index]
      let timing = AnswerTiming(
        queueMicroseconds: start.microseconds(since: job.arrival), computeMicroseconds: computeMicroseconds,
        batchRows: UInt32(clamping: rows))
      count(batch.model.counters, received: job.receiveMicroseconds, timing)
      sink.answer(
        job.address, batch.encoder, rows: job.rows,
        values: batch.pointers.point(at: batch.workspace, row: job.firstRow), selection: job.selection, timing: timing)
    }
    batch.keepForShadow()
    batch.removeAll()
  }

  /// A call of more rows than a plan's run takes: computed by itself, run after run, its outputs
  /// collected until they are whole.
  private func runAlone(
    _ call: PredictCall, rows: Int, selection: UInt64, _ batch: ModelBatch<Sink.Encoder>, _ sink: Sink
  ) throws(ServingError) {
    let plan = batch.plan
    let start = sink.now()
    let room = batch.collected.reserve(rows * plan.collectedFloatsPerRow(selection))
    var row = 0
    while row < rows {
      guard !call.deadline.hasPassed(at: sink.now()) else { throw Self.expired }
      let count = min(plan.rowsMax, rows - row)
      try batch.model.compiled.binder.bind(call.tensors, rows: row..<row + count, into: batch.workspace.input)
      plan.run(batch.workspace, rows: count)
      batch.countNonFinite(rows: count, shard: shard)
      plan.collect(batch.workspace, from: 0, count: count, selection: selection, into: room, at: row, of: rows)
      row += count
    }
    let end = sink.now()
    let timing = AnswerTiming(
      queueMicroseconds: start.microseconds(since: call.arrival),
      computeMicroseconds: end.microseconds(since: start), batchRows: UInt32(clamping: rows))
    batch.model.counters.batchRows.record(items: rows, shard: shard)
    count(batch.model.counters, calls: 1, rows: rows, timing.computeMicroseconds, end: end)
    count(batch.model.counters, received: call.receiveMicroseconds, timing)
    batch.skipShadow(rows: rows, shard: shard)
    sink.answer(
      call.address, batch.encoder, rows: rows,
      values: batch.pointers.point(at: room, rows: rows, selection: selection), selection: selection, timing: timing)
  }

  // MARK: counting

  static var expired: ServingError { .deadlineExceeded("timeout_us: the budget was spent before the call ran") }

  func callBegan() {
    callsPending += 1
    counters.inFlight.add(1, shard: shard)
  }

  func callsEnded(_ calls: Int) {
    callsPending -= calls
    counters.inFlight.add(-calls, shard: shard)
  }

  /// What the calls of a batch have in common, counted once.
  func count(
    _ counters: ModelCounters, calls: Int, rows: Int, _ computeMicroseconds: UInt32, end: Instant
  ) {
    counters.requests(.ok).add(UInt64(calls), shard: shard)
    counters.rows.add(UInt64(rows), shard: shard)
    counters.computeDuration.record(microseconds: computeMicroseconds, count: calls, shard: shard)
    unsent.append(UnsentAnswers(counters: counters, computed: end, calls: calls))
  }

  func count(_ counters: ModelCounters, received receiveMicroseconds: UInt32, _ timing: AnswerTiming) {
    counters.receiveDuration.record(microseconds: receiveMicroseconds, shard: shard)
    counters.queueDuration.record(microseconds: timing.queueMicroseconds, shard: shard)
    let total = UInt64(timing.queueMicroseconds) + UInt64(timing.computeMicroseconds)
    counters.answerDuration.record(microseconds: UInt32(clamping: total), shard: shard)
  }

  func refuse(
    _ address: ReplyAddress, _ error: ServingError, _ batch: ModelBatch<Sink.Encoder>, _ sink: Sink
  ) {
    batch.model.counters.requests(error.code).add(shard: shard)
    sink.refuse(address, error)
  }
}

/// Answers of one batch on their way to sockets.
private struct UnsentAnswers {
  var counters: ModelCounters
  /// When their computation ended.
  var computed: Instant
  var calls: Int
}
