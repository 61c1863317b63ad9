public import NeedletailCore
internal import NeedletailMetrics
internal import NeedletailModels

extension TickBatcher {
  /// Whether some queue is nearly full or the loop is overloaded: the time at which read pauses pay.
  private var isUnderPressure: Bool { workers?.pool.isUnderPressure == true || shedder.isOverloaded }

  /// Decides about one call: run it on this loop, queue it for a worker, or reject it. A rejected call is counted
  /// here; the caller writes the error.
  /// - Complexity: O(length of the names); no tensor is looked at.
  public func decide(_ head: CallHead, into writer: Writer) -> AdmissionDecision<Writer.Schema> {
    guard !head.deadline.hasPassed(at: writer.time) else {
      counters.unresolved(.deadlineExceeded).add(shard: shard)
      return .reject(Self.expired)
    }
    if lease == nil { beginTick(at: writer.time) }
    let batch: ModelBatch<Writer.Schema>
    do throws(ServingError) {
      batch = try self.batch(for: head, writer)
    } catch {
      counters.unresolved(error.code).add(shard: shard)
      return .reject(error)
    }
    // A call of more rows than any call may have is rejected with its figures when it is bound.
    let rows = Int(min(head.rows, UInt64(rowsMax)))
    let extent = batch.plan.extentEstimate(rows: rows, inputBytes: head.inputBytes)
    let answerBytes = batch.answerSize.bytes(rows: extent.rows, textBytes: head.inputBytes)
    guard isForWorkers(batch, extent, answerBytes) else {
      // The sockets are the queue of the loop: they go unread while the loop computes, and no longer than that.
      let readPause: UInt64 = isUnderPressure ? 0 : .max
      guard let error = tickRejection(at: writer.time) else {
        return AdmissionDecision(.run(batch), readPauseNanoseconds: readPause, answerBytesMax: answerBytes)
      }
      return shed(error, .tick, batch, readPauseNanoseconds: readPause)
    }
    let lane = lane(of: batch)
    // The pause ends long before the queue is empty, so that no worker ever waits for the loop.
    let readPause = isUnderPressure ? min(lane.drainNanoseconds / 4, Limits.readPauseNanosecondsMax) : .max
    guard let error = lane.rejection(of: extent, priority: head.priority) else {
      return AdmissionDecision(.queue(batch), readPauseNanoseconds: readPause, answerBytesMax: answerBytes)
    }
    return shed(error, .queue, batch, readPauseNanoseconds: readPause)
  }

  private func shed(
    _ error: ServingError, _ reason: ShedReason, _ batch: ModelBatch<Writer.Schema>, readPauseNanoseconds: UInt64
  ) -> AdmissionDecision<Writer.Schema> {
    counters.shed(reason).add(shard: shard)
    batch.model.counters.requests(error.code).add(shard: shard)
    return AdmissionDecision(.reject(error), readPauseNanoseconds: readPauseNanoseconds)
  }

  /// Reason why this tick takes on no more work for the loop; nil: there is room.
  private func tickRejection(at now: Instant) -> ServingError? {
    let excess = shedder.excess(
      now: now, pendingNanoseconds: pendingNanoseconds, workNanoseconds: tickNanoseconds)
    guard excess > 0 else { return nil }
    // A constant sentence: with numbers in it, a rejection would cost several times as much.
    return ServingError(
      .overloaded, "event loop: expected work that fits its tick, found too much",
      retryAfterMicroseconds: UInt32(clamping: max(UInt64(Limits.overloadRetryMicrosecondsMin), excess / 1000)))
  }

  /// Whether a call of this extent costs too much to be computed on the loop, or its answer too much to be written there
  /// in one go.
  private func isForWorkers(_ batch: ModelBatch<Writer.Schema>, _ extent: BatchExtent, _ answerBytes: Int) -> Bool {
    guard let pool = workers?.pool else { return false }
    return answerBytes > Limits.contiguousAnswerBytesMax
      || batch.model.nanoseconds(of: extent) > pool.configuration.inlineNanosecondsMax
  }

  // MARK: large answers

  /// Most bytes of the answer to a call with these outputs. Asked only where ``AdmissionDecision/answerBytesMax`` is
  /// large, because it needs the names of the outputs.
  /// - Parameters:
  ///   - decision: from ``decide(_:into:)`` in this tick; not a rejection.
  ///   - inputBytes: of the call.
  ///   - names: outputs wanted; none: all.
  /// - Throws: the error for an output that does not exist, or for an answer longer than any frame.
  public func answerBytes(
    of decision: AdmissionDecision<Writer.Schema>, rows: UInt64, inputBytes: Int,
    outputs names: UnsafeBufferPointer<UnsafeRawBufferPointer>, _ writer: Writer
  ) throws(ServingError) -> Int {
    guard let batch = decision.batch else { return 0 }
    let rows = Int(min(rows, UInt64(rowsMax)))
    return try batch.answerSize.check(
      rows: rows, textBytes: inputBytes, selection: try writer.selection(of: names, batch.schema))
  }

  /// Counts a call that was admitted and is rejected all the same because of its answer.
  public func countRejection(_ error: ServingError, of decision: AdmissionDecision<Writer.Schema>) {
    guard let batch = decision.batch else { return }
    if error.code == .overloaded { counters.shed(.memory).add(shard: shard) }
    batch.model.counters.requests(error.code).add(shard: shard)
  }

  /// Lane in which calls of the batch's version wait for workers. The first call enters it under the pool's lock.
  private func lane(of batch: ModelBatch<Writer.Schema>) -> WorkerLane {
    if let lane = batch.lane { return lane }
    guard let pool = workers?.pool else { preconditionFailure("a call for workers where there are none") }
    let lane = pool.lane(for: batch.model)
    batch.join(lane, of: pool)
    return lane
  }

  /// The loop's scratch for the version that a call asks for.
  /// - Throws: `.notFound`, or `.unavailable` while the version is on its way.
  private func batch(for head: CallHead, _ writer: Writer) throws(ServingError) -> ModelBatch<Writer.Schema> {
    let wanted = try lease!.borrowedModel(named: head.model, selector: head.selector, routingKey: head.routingKey)
    return batch(for: wanted, writer)
  }
}
