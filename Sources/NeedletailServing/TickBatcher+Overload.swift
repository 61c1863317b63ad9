public import NeedletailCore
internal import NeedletailMetrics
internal import NeedletailModels

/// What is known of a call before it is decoded.
public struct EarlyOutlook: Sendable {
  /// Why the call should be refused; nil: decode it.
  public var refusal: ServingError?
  /// How long the peer may then go unread, so that what it sends meanwhile is dealt with together.
  public var restNanoseconds: UInt64

  /// Decode it, and see.
  public static let unknown = EarlyOutlook(refusal: nil, restNanoseconds: 0)
}

extension TickBatcher {
  /// Whether it pays to ask ``outlook(of:selector:routingKey:priority:rows:into:)`` before a call is decoded: nearly never.
  public var isUnderPressure: Bool { workers?.pool.isUnderPressure == true || governor.isOverloaded }

  /// What becomes of a call, by what its envelope tells.
  public func outlook(
    of model: UnsafeRawBufferPointer, selector: ModelSelector, routingKey: UnsafeRawBufferPointer,
    priority: CallPriority, rows: UInt64, into sink: Sink
  ) -> EarlyOutlook {
    if lease == nil { beginTick(at: sink.time) }
    // Names that lead nowhere are told so after decoding, with all that there is to say.
    guard let wanted = try? lease?.borrowedModel(named: model, selector: selector, routingKey: routingKey) else {
      return .unknown
    }
    guard let batch = knownBatch(wanted) else { return .unknown }
    // More than a call may have is told so after decoding too, if it comes to that.
    let rows = Int(min(rows, UInt64(rowsMax)))
    guard isForWorkers(batch, rows: rows) else {
      // On the loop sockets are the queue: they go unread while it computes, and no longer than that.
      guard let obstacle = tickObstacle(at: sink.time) else { return .unknown }
      return refused(obstacle, .tick, batch, restNanoseconds: 0)
    }
    guard let lane = batch.lane else { return .unknown }
    // Long before the queue is empty, so that no worker ever waits for the loop.
    let rest = min(lane.drainNanoseconds / 4, Limits.restNanosecondsMax)
    guard let obstacle = lane.obstacle(rows: rows, priority: priority) else {
      return EarlyOutlook(refusal: nil, restNanoseconds: rest)
    }
    return refused(obstacle, .queue, batch, restNanoseconds: rest)
  }

  private func refused(
    _ error: ServingError, _ reason: ShedReason, _ batch: ModelBatch<Sink.Encoder>, restNanoseconds: UInt64
  ) -> EarlyOutlook {
    counters.shed(reason).add(shard: shard)
    batch.model.counters.requests(error.code).add(shard: shard)
    return EarlyOutlook(refusal: error, restNanoseconds: restNanoseconds)
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
