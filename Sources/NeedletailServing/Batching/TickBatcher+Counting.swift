public import NeedletailCore
internal import NeedletailMetrics
internal import NeedletailModels

/// Counts of calls, and their errors.
extension TickBatcher {
  /// Error of a call whose budget was spent before it could run.
  public static var expired: ServingError { .deadlineExceeded("timeout_us: the budget was spent before the call ran") }

  func callBegan() {
    callsPending += 1
    counters.inFlight.add(1, shard: shard)
  }

  func callsEnded(_ calls: Int) {
    callsPending -= calls
    counters.inFlight.add(-calls, shard: shard)
  }

  /// Counts once what the calls of a batch have in common.
  func count(
    _ counters: ModelCounters, calls: Int, rows: Int, _ computeMicroseconds: UInt32, end: Instant
  ) {
    counters.requests(.ok).add(UInt64(calls), shard: shard)
    counters.rows.add(UInt64(rows), shard: shard)
    counters.computeDuration.record(microseconds: computeMicroseconds, count: calls, shard: shard)
    addUnsent(counters, calls: calls, computed: end)
  }

  /// Notes answers that are written and not yet handed to sockets.
  func addUnsent(_ counters: ModelCounters, calls: Int, computed: Instant) {
    if let last = unsent.last, last.counters === counters, last.computed == computed {
      unsent[unsent.count - 1].calls += calls
    } else {
      unsent.append(UnsentAnswers(counters: counters, computed: computed, calls: calls))
    }
  }

  func count(_ counters: ModelCounters, received receiveMicroseconds: UInt32, _ timing: AnswerTiming) {
    counters.receiveDuration.record(microseconds: receiveMicroseconds, shard: shard)
    counters.queueDuration.record(microseconds: timing.queueMicroseconds, shard: shard)
    let total = UInt64(timing.queueMicroseconds) + UInt64(timing.computeMicroseconds)
    counters.answerDuration.record(microseconds: UInt32(clamping: total), shard: shard)
  }

  func reject(
    _ address: ReplyAddress, _ error: ServingError, _ batch: ModelBatch<Writer.Schema>, _ writer: Writer
  ) {
    batch.model.counters.requests(error.code).add(shard: shard)
    writer.reject(address, error)
  }
}
