public import NeedletailCore
internal import NeedletailMetrics
internal import NeedletailModels

extension TickBatcher {
  /// Whether it pays to ask ``refusal(of:selector:routingKey:priority:into:)`` before a call is decoded: nearly never.
  public var isUnderPressure: Bool { workers?.pool.isUnderPressure == true || governor.isOverloaded }

  /// Why a call should be refused before its payload is decoded, by what its envelope tells; nil: decode it.
  public func refusal(
    of model: UnsafeRawBufferPointer, selector: ModelSelector, routingKey: UnsafeRawBufferPointer,
    priority: CallPriority, into sink: Sink
  ) -> ServingError? {
    if lease == nil { beginTick(at: sink.time) }
    // Names that lead nowhere are told so after decoding, with all that there is to say.
    guard let wanted = try? lease?.borrowedModel(named: model, selector: selector, routingKey: routingKey) else {
      return nil
    }
    guard let batch = knownBatch(wanted) else { return nil }
    let error: ServingError
    if isForWorkers(batch, rows: 1) {
      guard let obstacle = batch.lane?.obstacle(rows: 1, priority: priority) else { return nil }
      counters.shed(.queue).add(shard: shard)
      error = obstacle
    } else {
      guard let obstacle = tickObstacle(at: sink.time) else { return nil }
      counters.shed(.tick).add(shard: shard)
      error = obstacle
    }
    batch.model.counters.requests(error.code).add(shard: shard)
    return error
  }

  /// Why this tick takes no more work to be done on the loop; nil while it does.
  func tickObstacle(at now: Instant) -> ServingError? {
    let excess = governor.excess(
      now: now, pendingNanoseconds: pendingNanoseconds, workNanoseconds: tickNanoseconds)
    guard excess > 0 else { return nil }
    // A constant sentence: with numbers in it, a refusal would cost several times as much.
    return ServingError(
      .overloaded, "event loop: expected work that fits its tick, found too much",
      retryAfterMicroseconds: UInt32(clamping: max(UInt64(Limits.overloadRetryMicrosecondsMin), excess / 1000)))
  }
}
