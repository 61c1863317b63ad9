internal import NeedletailCapture
internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailMetrics
internal import NeedletailModels

/// Calls whose answers are known.
extension TickBatcher {
  /// Key of a call whose rows are bound; nil: it is computed, whatever is known.
  func cacheKey(
    _ batch: ModelBatch<Writer.Schema>, _ memory: RowMemory, first: Int, rows: Int, selection: UInt64
  ) -> ResponseCache.Key? {
    guard let cache, batch.cacheVersion != 0, !batch.mustCompute else { return nil }
    // What stands in places is read from texts, which are not kept.
    if batch.plan.spans != nil { return nil }
    return cache.key(
      batch.plan, memory, first: first, rows: rows, version: batch.cacheVersion,
      selection: keptOutputs(batch, selection))
  }

  /// Outputs that are kept of an answer, one bit each: those that were asked for, and the one that rows are counted by.
  func keptOutputs(_ batch: ModelBatch<Writer.Schema>, _ selection: UInt64) -> UInt64 {
    guard cache != nil, batch.cacheVersion != 0, let counted = batch.model.counters.classes?.output else {
      return selection
    }
    return selection | 1 << UInt64(counted)
  }

  /// Answers a call from the cache.
  /// - Parameters:
  ///   - input: memory of its bound rows.
  ///   - first: its first row there.
  /// - Returns: false if its answer is not known.
  func answerCached(
    _ call: PredictCall, _ key: ResponseCache.Key, _ input: RowMemory, first: Int = 0, rows: Int, selection: UInt64,
    _ batch: ModelBatch<Writer.Schema>, _ writer: Writer
  ) -> Bool {
    guard let found = cache?.find(key) else { return false }
    let now = writer.time
    let timing = AnswerTiming(
      queueMicroseconds: now.microseconds(since: call.arrival), computeMicroseconds: 0,
      batchRows: UInt32(clamping: rows))
    let counters = batch.model.counters
    // It is a call like others, but for the time that computing took: the guard compares what versions compute.
    counters.requests(.ok).add(shard: shard)
    counters.rows.add(UInt64(rows), shard: shard)
    if found.nonFinite > 0 { counters.nonFinite.add(UInt64(found.nonFinite), shard: shard) }
    count(counters, received: call.receiveMicroseconds, timing)
    addUnsent(counters, calls: 1, computed: now)
    let values = batch.pointers.point(at: found.floats, rows: rows, selection: keptOutputs(batch, selection))
    if let classes = counters.classes, let output = classes.output {
      classes.count(values[output], rows: rows, shard: shard)
    }
    writer.answer(
      call.address, batch.schema, rows: rows, values: values, selection: selection, timing: timing, memory: nil)
    let (name, answer) = (name(of: call, batch), CapturedValues(values: values, selection: selection, rows: rows))
    batch.capture?.end(
      call.tensors, CapturedEnd(call.address, name.key, arrival: call.arrival, .ok, timing), answer)
    batch.feedback?.remember(name, arrival: call.arrival, answer, input: input, first: first)
    return true
  }

  /// Keeps the answer of a call that the loop computed.
  func keepCached(_ call: BoundCall, _ batch: ModelBatch<Writer.Schema>) {
    guard !call.cacheTicket.isNone else { return }
    let (rows, selection) = (call.extent.rows, keptOutputs(batch, call.selection))
    cache?.finish(call.cacheTicket, nonFinite: batch.nonFinite(from: call.firstRow, rows: rows, selection)) { floats in
      batch.collect(from: call.firstRow, count: rows, selection: selection, into: floats, at: 0, of: rows)
    }
  }

  /// Keeps the answer of a call that a worker computed. Its rows are still there.
  func keepCached(_ call: QueuedCall, _ batch: ModelBatch<Writer.Schema>) {
    let (rows, selection) = (call.extent.rows, call.collected)
    guard let cache, call.isCached,
      let key = cacheKey(
        batch, batch.plan.rowMemory(at: call.input, rows: rows), first: 0, rows: rows, selection: selection)
    else { return }
    let floats = rows * batch.plan.collectedFloatsPerRow(selection)
    let ticket = cache.begin(key, floats: floats)
    cache.finish(ticket, nonFinite: batch.plan.nonFinite(in: call.output, rows: rows, selection)) { memory in
      memory.update(from: call.output, count: floats)
    }
  }
}
