internal import NeedletailCore
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
  private let counters: ServingCounters
  private let shard: Int
  private let rowsMax: Int
  /// Held from a tick's first call to its end.
  private var lease: ModelLease?
  private var batches: [ModelBatch<Sink.Encoder>] = []
  /// The table that `batches` was last compared with; only compared, never followed.
  private var sweptTable: UnsafeMutableRawPointer?
  /// Calls bound and not yet answered.
  public private(set) var callsPending = 0

  /// - Parameters:
  ///   - reader: this loop's own.
  ///   - shard: of the metrics, this loop's own.
  ///   - rowsMax: rows of one call.
  public init(reader: RegistryReader, counters: ServingCounters, shard: Int, rowsMax: Int) {
    self.reader = reader
    self.counters = counters
    self.shard = shard
    self.rowsMax = rowsMax
  }

  // MARK: admission

  /// Checks and binds one call, or refuses it alone: the others of the tick go on.
  /// - Complexity: O(bytes of the call).
  public func admit(_ call: PredictCall, into sink: Sink) {
    guard !call.deadline.hasPassed(at: sink.now()) else {
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
    if rows > batch.room { run(batch, into: sink) }
    if rows > batch.room {
      try runAlone(call, rows: rows, selection: selection, batch, sink)
      return
    }
    try binder.bind(call.tensors, rows: 0..<rows, into: batch.nextRow)
    batch.append(
      PredictJob(
        address: call.address, arrival: call.arrival, deadline: call.deadline, selection: selection,
        firstRow: batch.rows, rows: rows))
    callsPending += 1
    counters.inFlight.add(1, shard: shard)
  }

  /// The loop's scratch for the version that `call` asks for.
  private func batch(for call: PredictCall, sink: Sink) throws(ServingError) -> ModelBatch<Sink.Encoder> {
    if lease == nil { beginTick() }
    let wanted = try lease!.borrowedModel(
      named: call.model, selector: call.selector, routingKey: call.routingKey)
    for batch in batches where Unmanaged.passUnretained(batch.model).toOpaque() == wanted.toOpaque() { return batch }
    let model = wanted.takeUnretainedValue()
    let batch = ModelBatch(
      model, encoder: sink.makeEncoder(for: model))
    batches.append(batch)
    return batch
  }

  // MARK: ticks

  /// Computes all that was admitted since the last run, hands out the answers and ends the tick.
  public func run(into sink: Sink) {
    for batch in batches where batch.rows > 0 { run(batch, into: sink) }
    // Ends the lease: versions that left the table may be freed.
    lease = nil
  }

  /// Drops scratch of versions that have left the table; between ticks, so that an idle loop holds no
  /// memory of a retired version.
  public func sweep() {
    guard lease == nil else { return }
    sweptTable = nil
    beginTick()
    lease = nil
  }

  private func beginTick() {
    let lease = reader.lease()
    let table = lease.table
    let identity = Unmanaged.passUnretained(table).toOpaque()
    if identity != sweptTable {
      batches.removeAll { batch in
        !table.entries.contains { $0.model == batch.model.model && $0.live.contains { $0 === batch.model } }
      }
      sweptTable = identity
    }
    self.lease = consume lease
  }

  private func run(_ batch: ModelBatch<Sink.Encoder>, into sink: Sink) {
    let start = sink.now()
    batch.dropExpired(at: start) { job in
      callEnded()
      refuse(job.address, Self.expired, batch, sink)
    }
    let rows = batch.rows
    guard rows > 0 else { return }
    batch.plan.run(batch.workspace, rows: rows)
    let computeMicroseconds = sink.now().microseconds(since: start)
    batch.countNonFinite(rows: rows, shard: shard)
    let modelCounters = batch.model.counters
    modelCounters.batchRows.record(items: rows, shard: shard)
    for index in batch.jobs.indices {
      let job = batch.jobs[index]
      let timing = AnswerTiming(
        queueMicroseconds: start.microseconds(since: job.arrival), computeMicroseconds: computeMicroseconds,
        batchRows: UInt32(clamping: rows))
      callEnded()
      count(answered: job.rows, timing, modelCounters)
      sink.answer(
        job.address, batch.encoder, rows: job.rows,
        values: batch.pointers.point(at: batch.workspace, row: job.firstRow), selection: job.selection, timing: timing)
    }
    batch.removeAll()
  }

  /// A call of more rows than a plan's run takes: computed by itself, run after run, its outputs
  /// collected until they are whole.
  private func runAlone(
    _ call: PredictCall, rows: Int, selection: UInt64, _ batch: ModelBatch<Sink.Encoder>, _ sink: Sink
  ) throws(ServingError) {
    let plan = batch.plan
    let start = sink.now()
    // Outputs that nobody asked for are computed and not kept.
    let collected = plan.outputs.indices.map { index in
      UnsafeMutablePointer<Float>.allocate(
        capacity: Self.isSelected(index, selection) ? rows * plan.outputs[index].floatsPerRow : 0)
    }
    defer { for start in collected { start.deallocate() } }
    var row = 0
    while row < rows {
      guard !call.deadline.hasPassed(at: sink.now()) else { throw Self.expired }
      let count = min(plan.rowsMax, rows - row)
      try batch.model.compiled.binder.bind(call.tensors, rows: row..<row + count, into: batch.workspace.input)
      plan.run(batch.workspace, rows: count)
      batch.countNonFinite(rows: count, shard: shard)
      for index in plan.outputs.indices where Self.isSelected(index, selection) {
        let width = plan.outputs[index].floatsPerRow
        (collected[index] + row * width).initialize(from: batch.workspace.output(index), count: count * width)
      }
      row += count
    }
    let timing = AnswerTiming(
      queueMicroseconds: start.microseconds(since: call.arrival),
      computeMicroseconds: sink.now().microseconds(since: start), batchRows: UInt32(clamping: rows))
    batch.model.counters.batchRows.record(items: rows, shard: shard)
    count(answered: rows, timing, batch.model.counters)
    sink.answer(
      call.address, batch.encoder, rows: rows, values: batch.pointers.point(at: collected), selection: selection,
      timing: timing)
  }

  private static func isSelected(_ output: Int, _ selection: UInt64) -> Bool { selection >> UInt64(output) & 1 == 1 }

  // MARK: counting

  private static var expired: ServingError { .deadlineExceeded("timeout_us: the budget was spent before the call ran") }

  private func callEnded() {
    callsPending -= 1
    counters.inFlight.add(-1, shard: shard)
  }

  private func count(answered rows: Int, _ timing: AnswerTiming, _ counters: ModelCounters) {
    counters.requests(.ok).add(shard: shard)
    counters.rows.add(UInt64(rows), shard: shard)
    counters.queueDuration.record(microseconds: timing.queueMicroseconds, shard: shard)
    counters.computeDuration.record(microseconds: timing.computeMicroseconds, shard: shard)
    let total = UInt64(timing.queueMicroseconds) + UInt64(timing.computeMicroseconds)
    counters.answerDuration.record(microseconds: UInt32(clamping: total), shard: shard)
  }

  private func refuse(
    _ address: ReplyAddress, _ error: ServingError, _ batch: ModelBatch<Sink.Encoder>, _ sink: Sink
  ) {
    batch.model.counters.requests(error.code).add(shard: shard)
    sink.refuse(address, error)
  }
}
