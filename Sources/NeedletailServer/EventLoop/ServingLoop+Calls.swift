internal import NeedletailCore
internal import NeedletailMetrics
internal import NeedletailModels
internal import NeedletailProtobuf
internal import NeedletailSecurity
internal import NeedletailServing
internal import NeedletailWire

/// The middle of a tick: from the calls of one connection to the batcher, and from the batcher's answers back.
extension ServingLoop {
  /// Takes all calls of a connection that may be taken now.
  /// - Returns: time for which the peer may go unread: the shortest that admission gave for one of the calls. 0: the
  ///   peer must be read at once. `.max`: admission had no wish.
  @inline(never)
  func takeCalls(_ connection: Connection) -> UInt64 {
    var readPause = UInt64.max
    // `next` and `take` are inlined here: a call's view is 200 bytes that would be copied from each to the next.
    while true {
      switch connection.next(arena) {
      case .call(let request, let times):
        if case .predict(let predict) = request.call {
          readPause = min(readPause, take(predict, of: request, times, connection))
        } else {
          readPause = 0
          takeOther(request, times, connection)
        }
      case .job:
        readPause = 0
        if let call = connection.takeJobCall() { takeJob(call, connection) }
      case .wait: return readPause
      }
    }
  }

  // MARK: predict calls

  /// Decides about one predict call, and binds it if it is admitted.
  /// - Returns: time for which the peer may go unread.
  @inline(__always)
  private func take(
    _ predict: PredictView, of request: RequestView, _ times: ConnectionStateMachine.CallTimes,
    _ connection: Connection
  ) -> UInt64 {
    let head = CallHead(
      deadline: Deadline(arrival: times.arrived, timeoutMicroseconds: request.timeoutMicroseconds),
      model: predict.model, selector: predict.selector, routingKey: predict.routingKey, priority: predict.priority,
      rows: predict.rows, inputBytes: predict.inputBytes)
    let trace = context.traces == nil ? 0 : beginTrace(predict, of: request, times, connection)
    let decision = decide(head, times, connection)
    if case .reject(let error) = decision.outcome {
      reject(request.id, trace, shown(error, to: connection), connection)
      return decision.readPauseNanoseconds
    }
    guard decision.answerBytesMax <= Limits.contiguousAnswerBytesMax, connection.hasRoom(for: decision.answerBytesMax)
    else { return takeWithLargeAnswer(predict, request, trace, head, times, decision, connection) }
    if let error = access.charge(rows: head.rows, to: &connection.access, now: times.arrived) {
      reject(request.id, trace, error, connection)
      return decision.readPauseNanoseconds
    }
    let address = ReplyAddress(
      slot: connection.address.slot, generation: connection.address.generation, id: request.id,
      answerBytes: UInt32(truncatingIfNeeded: decision.answerBytesMax), trace: trace)
    connection.accept(address)
    do throws(ServingError) {
      let (tensors, outputs) = try connection.codec.body(arena)
      var call = PredictCall(
        address: address, arrival: times.arrived,
        receiveMicroseconds: times.arrived.microseconds(since: times.began), deadline: head.deadline,
        priority: predict.priority, tensors: tensors, outputs: outputs)
      call.take(nameOf: predict)
      batcher.bind(call, decision, into: self)
    } catch {
      context.counters.frameError(.undecodable).add(shard: context.shard)
      endTrace(trace, error)
      connection.answer(address, error, now: time)
    }
    return decision.readPauseNanoseconds
  }

  /// Notes a call that may be traced.
  /// - Returns: its ticket; 0: it is not traced.
  @inline(never)
  private func beginTrace(
    _ predict: PredictView, of request: RequestView, _ times: ConnectionStateMachine.CallTimes,
    _ connection: Connection
  ) -> UInt32 {
    context.traces?.begin(
      request.traceparent, model: predict.model, rows: predict.rows, wire: type(of: connection.codec).wire,
      began: times.began, arrived: times.arrived) ?? 0
  }

  private func endTrace(_ trace: UInt32, _ error: ServingError) {
    if trace != 0 { context.traces?.end(trace, error.code, now: time) }
  }

  /// Answers a predict call that is not admitted.
  private func reject(_ id: UInt64, _ trace: UInt32, _ error: ServingError, _ connection: Connection) {
    endTrace(trace, error)
    connection.reject(id: id, error)
  }

  /// The same for a call whose answer is large, or finds no room beside those of earlier calls. What is admitted is
  /// sent, however large; so room is made first, in the connection, where the call may wait for it, and among all
  /// connections, where it may not. Only the names of its outputs tell how large the answer is.
  @inline(never)
  private func takeWithLargeAnswer(
    _ predict: PredictView, _ request: RequestView, _ trace: UInt32, _ head: CallHead,
    _ times: ConnectionStateMachine.CallTimes,
    _ decision: AdmissionDecision<AnswerSchema>, _ connection: Connection
  ) -> UInt64 {
    var address = ReplyAddress(
      slot: connection.address.slot, generation: connection.address.generation, id: request.id, trace: trace)
    do throws(ServingError) {
      let (tensors, outputs) = try connection.codec.body(arena)
      let bytes = try batcher.answerBytes(
        of: decision, rows: head.rows, inputBytes: head.inputBytes, outputs: outputs, self)
      address.answerBytes = UInt32(bytes)
      guard connection.hasRoom(for: bytes) else {
        connection.putBack(times, answerBytes: bytes)
        if trace != 0 { context.traces?.cancel(trace) }
        return 0
      }
      if address.isLarge, !context.outputBudget.reserve(bytes) { throw context.outputBudget.rejection(of: bytes) }
      if let error = access.charge(rows: head.rows, to: &connection.access, now: times.arrived) {
        if address.isLarge { context.outputBudget.move(by: -bytes) }
        reject(request.id, trace, error, connection)
        return decision.readPauseNanoseconds
      }
      connection.accept(address)
      var call = PredictCall(
        address: address, arrival: times.arrived,
        receiveMicroseconds: times.arrived.microseconds(since: times.began), deadline: head.deadline,
        priority: predict.priority, tensors: tensors, outputs: outputs)
      call.take(nameOf: predict)
      batcher.bind(call, decision, into: self)
    } catch {
      batcher.countRejection(error, of: decision)
      reject(request.id, trace, error, connection)
      // A call that fails by its own fault counts as one.
      if error.code != .overloaded,
        access.charge(rows: head.rows, to: &connection.access, now: times.arrived) == nil
      {
        connection.access.settle()
      }
    }
    return decision.readPauseNanoseconds
  }

  /// The one decision about a predict call: by its key's grant and limits, its deadline, its model, and the time and
  /// room that there is.
  ///
  /// The grant comes first: a caller without it must not learn that a model exists or how busy it is. The limits come
  /// last, when the call is admitted otherwise: a call that is rejected as overload is not charged, or a client that
  /// obeys `retry_after_us` would use up its rate for nothing.
  @inline(__always)
  private func decide(
    _ head: CallHead, _ times: ConnectionStateMachine.CallTimes, _ connection: Connection
  ) -> AdmissionDecision<AnswerSchema> {
    if let error = access.denial(of: .predict, model: head.model, &connection.access) { return .reject(error) }
    let decision = batcher.decide(head, into: self)
    guard case .reject(let error) = decision.outcome, error.code != .overloaded else { return decision }
    // A call that fails by its own fault counts as one.
    if let error = access.charge(rows: head.rows, to: &connection.access, now: times.arrived) {
      return .reject(error)
    }
    connection.access.settle()
    return decision
  }

  // MARK: other calls

  private func takeOther(
    _ request: RequestView, _ times: ConnectionStateMachine.CallTimes, _ connection: Connection
  ) {
    let call: ControlCall
    let kind: AccessCalls
    var model = UnsafeRawBufferPointer(start: nil, count: 0)
    switch request.call {
    case .predict: preconditionFailure("predict calls are taken elsewhere")
    case .health: (call, kind) = (.health, .health)
    case .metrics: (call, kind) = (.metrics, .metrics)
    case .listModels: (call, kind) = (.listModels, .list)
    case .describeModel(let describe):
      (call, kind, model) = (.describeModel(ModelReference(describe)), .describe, describe.model)
    case .events(let after, let limit): (call, kind) = (.events(after: after, limit: limit), .list)
    case .rollout(let name, let undo):
      (call, kind, model) = (.rollout(ModelReference.text(name), undo: undo), undo == nil ? .list : .rollout, name)
    // A client that may make any call may know what calls may look like.
    case .serverInfo: (call, kind) = (.serverInfo, .all)
    case .feedback(let view): return takeFeedback(view, request, times, connection)
    case .authenticate(let key): return authenticate(request.id, key, connection)
    case .none:
      return connection.reject(
        id: request.id, .unimplemented("call: expected one that this server knows, found none"))
    }
    takeControl(call, kind, model: model, request, times, connection)
  }

  /// The grant is asked for before the bytes of outcomes are copied.
  private func takeFeedback(
    _ view: FeedbackView, _ request: RequestView, _ times: ConnectionStateMachine.CallTimes, _ connection: Connection
  ) {
    if let error = access.denial(of: .feedback, model: view.model, &connection.access) {
      return connection.reject(id: request.id, error)
    }
    do throws(ServingError) {
      let call = ControlCall.feedback(try FeedbackOrder(view))
      takeControl(call, .feedback, model: view.model, request, times, connection)
    } catch {
      connection.reject(id: request.id, error)
    }
  }

  private func takeControl(
    _ call: ControlCall, _ kind: AccessCalls, model: UnsafeRawBufferPointer, _ request: RequestView,
    _ times: ConnectionStateMachine.CallTimes, _ connection: Connection
  ) {
    if let error = access.denial(of: kind, model: model, &connection.access)
      ?? access.charge(to: &connection.access, now: times.arrived)
    {
      if kind == .rollout { context.audit.refusedChange(connection.caller, reason: error.message, now: time) }
      return connection.reject(id: request.id, error)
    }
    guard acceptControl(id: request.id, connection) else { return }
    let deadline = Deadline(arrival: times.arrived, timeoutMicroseconds: request.timeoutMicroseconds)
    run(call, id: request.id, deadline, connection)
  }

  /// Notes that a call other than predict will be answered, or rejects it where too many are in flight.
  func acceptControl(id: UInt64, _ connection: Connection) -> Bool {
    if connection.acceptControl(id: id) { return true }
    let limit = Limits.controlCallsInFlightMax
    connection.access.settle()
    connection.reject(
      id: id,
      ServingError(
        .overloaded,
        "calls other than predict: expected at most \(limit) in flight on a connection, found \(limit + 1)",
        retryAfterMicroseconds: Limits.controlRetryMicroseconds,
        detail: ErrorDetail(
          limit: .init("other_calls_in_flight_max", maximum: UInt64(limit), found: UInt64(limit + 1)))))
    return false
  }

  private func authenticate(
    _ id: UInt64, _ key: UnsafeRawBufferPointer, _ connection: Connection
  ) {
    do throws(ServingError) {
      let name = try access.authenticate(key, &connection.access)
      connection.authenticated()
      connection.answerAuthenticated(id: id, principal: name)
    } catch {
      refuse(id, error, connection)
    }
  }

  /// Answers a wrong key: at once, or, after several from the same host, when it has waited. Then the connection takes no
  /// further call and ends with the answer, so that it holds one wait at most.
  private func refuse(_ id: UInt64, _ error: ServingError, _ connection: Connection) {
    // A server without keys has none to guess.
    let delay =
      access.isKeyRequired
      ? context.audit.refusedKey(connection.socket.peer, reason: error.message, now: time) : .zero
    guard delay > .zero, connection.acceptControl(id: id) else {
      connection.reject(id: id, error)
      if connection.access.isExhausted { connection.endCalls() }
      return
    }
    connection.access.noteUnlimited()
    connection.endCalls()
    let address = connection.address
    Task { [self] in
      try? await Task.sleep(for: delay)
      execute { [self] in
        guard let connection = connections[address] else { return }
        connection.answerControl(id: id, .error(error), now: now())
        connections.markDirty(address)
      }
    }
  }

  /// Runs a control call off the loop, because it makes text and takes locks. Its answer is encoded there as well: a
  /// list of thousands of models takes milliseconds.
  private func run(_ call: ControlCall, id: UInt64, _ deadline: Deadline, _ connection: Connection) {
    let address = connection.address
    let visible = connection.access.visibleModels
    let codec = type(of: connection.codec)
    let caller = call.changesSomething ? connection.caller : nil
    Task { [control, self] in
      let answer =
        deadline.hasPassed(at: .now())
        ? .error(TickBatcher<ServingLoop>.expired) : await control.answer(call, caller).showing(visible)
      let encoded = codec.encode(answer, id: id)
      execute { [self] in
        guard let connection = connections[address] else { return }
        if let encoded {
          connection.answerControl(id: id, encoded: encoded, now: now())
        } else {
          connection.answerControl(id: id, answer, now: now())
        }
        connections.markDirty(address)
      }
    }
  }

  /// The part of an error that a caller may read.
  private func shown(_ error: ServingError, to connection: Connection) -> ServingError {
    control.readiness.judged(error.showing(connection.access.visibleModels))
  }
}

extension ServingLoop: ResponseWriter {
  func makeSchema(for model: LiveModel) -> AnswerSchema { AnswerSchema(model) }

  func selection(
    of names: UnsafeBufferPointer<UnsafeRawBufferPointer>, _ schema: AnswerSchema
  ) throws(ServingError) -> UInt64 {
    try schema.binary.selection(of: names)
  }

  func answer(
    _ address: ReplyAddress, _ schema: AnswerSchema, rows: Int,
    values: UnsafeBufferPointer<UnsafePointer<Float>>, selection: UInt64, timing: AnswerTiming, memory: CallMemory?
  ) {
    if address.trace != 0 { context.traces?.end(address.trace, version: schema.version, timing, now: time) }
    guard let connection = connections[address] else { return forget(address) }
    connection.answer(
      PredictAnswer(
        id: address.id, schema: schema, rows: rows, values: values, selection: selection, timing: timing),
      address, memory: memory, now: time)
    connections.markDirty(address)
  }

  func reject(_ address: ReplyAddress, _ error: ServingError) {
    endTrace(address.trace, error)
    guard let connection = connections[address] else { return forget(address) }
    connection.answer(address, shown(error, to: connection), now: time)
    connections.markDirty(address)
  }

  /// Gives back the room of an answer whose connection has gone.
  private func forget(_ address: ReplyAddress) {
    if address.isLarge { context.outputBudget.move(by: -Int(address.answerBytes)) }
  }

  /// Sends what is written: rejections above all, whose callers have waited for the last tick already. The connections
  /// stay on the list of those to flush.
  func flush() {
    connections.forEachDirty { $0.send() }
    if batcher.hasUnsent { batcher.sent(at: now()) }
  }
}

extension PredictCall {
  /// Takes over what the caller named: the call and its version.
  @inline(__always)
  fileprivate mutating func take(nameOf predict: PredictView) {
    name = predict.name
    if !predict.key.isEmpty { routingKey = predict.routingKey }
    if case .serving = predict.selector { isSelected = false } else { isSelected = true }
  }
}
