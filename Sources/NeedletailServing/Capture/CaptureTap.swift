internal import NeedletailCapture
internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailModels

/// How a call ended, as its record tells it.
struct CapturedEnd {
  var address: ReplyAddress
  var arrival: Instant
  var status: StatusCode
  var timing: AnswerTiming
  /// Digest of the name that the caller gave the call.
  var key: CallKey

  /// End of a call without an answer. All of its time counts as time in the queue.
  init(_ address: ReplyAddress, _ key: CallKey, arrival: Instant, _ error: ServingError, at end: Instant) {
    self.init(
      address, key, arrival: arrival, error.code,
      AnswerTiming(queueMicroseconds: end.microseconds(since: arrival), computeMicroseconds: 0, batchRows: 0))
  }

  init(_ address: ReplyAddress, _ key: CallKey, arrival: Instant, _ status: StatusCode, _ timing: AnswerTiming) {
    self.address = address
    self.key = key
    self.arrival = arrival
    self.status = status
    self.timing = timing
  }
}

/// Values of a call's answer.
struct CapturedValues {
  /// For every output of the plan its `rows × columns` floats.
  var values: UnsafeBufferPointer<UnsafePointer<Float>>
  /// Outputs that were asked for, one bit each.
  var selection: UInt64
  var rows: Int
}

/// Decides for one loop and one version which calls are captured, and writes their records. Confined to the loop. It
/// allocates nothing after it was made.
final class CaptureTap {
  private let lane: CaptureLane
  private let source: UInt32
  private let plan: Plan
  private let rule: CaptureRule
  /// Draws below it are captured.
  private let drawsMax: UInt64
  /// Output whose largest column is how sure the model is; nil: it does not say.
  private let scores: Int?

  init(_ model: LiveModel, _ rule: CaptureRule, source: UInt32, _ lane: CaptureLane) {
    self.lane = lane
    self.source = source
    self.rule = rule
    plan = model.compiled.plan
    drawsMax = rule.rate >= 1 ? .max : UInt64(rule.rate * 0x1p64)
    let isClassifier = !model.compiled.definition.labels.isEmpty || plan.outputs.contains { $0.kind != .number }
    scores = isClassifier ? plan.outputs.firstIndex { $0.kind == .number && $0.columns > 1 } : nil
  }

  private func isDrawn() -> Bool { drawsMax == .max || (drawsMax > 0 && lane.draw() < drawsMax) }

  // MARK: begin of a call

  /// Decides about a call before its answer is known.
  func begin(_ tensors: UnsafeBufferPointer<TensorView>) -> CaptureTicket {
    var ticket = CaptureTicket.unwanted
    ticket.isDrawn = isDrawn()
    guard ticket.isDrawn || rule.needsAnswer else { return ticket }
    guard let bytes = RequestRecord.bytes(of: tensors) else {
      ticket.state = .large
      return ticket
    }
    ticket.state = .kept
    ticket.bytes = UInt32(bytes)
    ticket.tensors = UInt32(tensors.count)
    return ticket
  }

  /// As ``begin(_:)``, for a call that ends in this tick: keeps its request.
  func keep(_ tensors: UnsafeBufferPointer<TensorView>) -> CaptureTicket {
    var ticket = begin(tensors)
    lane.keep(tensors, &ticket)
    return ticket
  }

  // MARK: end of a call

  /// Captures a call whose request the loop keeps, if a rule says so.
  func end(_ ticket: CaptureTicket, _ end: CapturedEnd, _ answer: CapturedValues?) {
    guard ticket.state != .unwanted else { return }
    self.end(ticket, request: lane.request(ticket), end, answer)
  }

  /// Captures a call, if a rule says so.
  /// - Parameter request: of the ticket, where its state is `kept`.
  func end(_ ticket: CaptureTicket, request: UnsafeRawPointer, _ end: CapturedEnd, _ answer: CapturedValues?) {
    guard ticket.state != .unwanted else { return }
    let reasons = reasons(isDrawn: ticket.isDrawn, end, answer)
    guard !reasons.isEmpty else { return }
    switch ticket.state {
    case .unwanted: return
    case .busy: return lane.count(.busy)
    case .large: return lane.count(.large)
    case .kept: break
    }
    write(reasons, end, tensors: ticket.tensors, requestBytes: Int(ticket.bytes), answer) { place in
      place.copyMemory(from: request, byteCount: Int(ticket.bytes))
    }
  }

  /// Captures a call that ends while its tensors are there, if a rule says so.
  func end(_ tensors: UnsafeBufferPointer<TensorView>, _ end: CapturedEnd, _ answer: CapturedValues?) {
    let reasons = reasons(isDrawn: isDrawn(), end, answer)
    guard !reasons.isEmpty else { return }
    guard let bytes = RequestRecord.bytes(of: tensors) else { return lane.count(.large) }
    write(reasons, end, tensors: UInt32(tensors.count), requestBytes: bytes, answer) { place in
      RequestRecord.write(tensors, to: place)
    }
  }

  private func reasons(isDrawn: Bool, _ end: CapturedEnd, _ answer: CapturedValues?) -> CaptureReasons {
    var reasons: CaptureReasons = isDrawn ? .rate : []
    if end.status != .ok, rule.errors { reasons.insert(.error) }
    if let slow = rule.slowMicroseconds {
      let took = UInt64(end.timing.queueMicroseconds) + UInt64(end.timing.computeMicroseconds)
      if took >= UInt64(slow) { reasons.insert(.slow) }
    }
    if let least = rule.confidenceBelow, let answer, isUnsure(answer, below: Float(least)) {
      reasons.insert(.confidence)
    }
    return reasons
  }

  /// Whether the largest probability of a row is low, or no number.
  private func isUnsure(_ answer: CapturedValues, below least: Float) -> Bool {
    guard let scores, answer.selection.selects(scores) else { return false }
    let columns = plan.outputs[scores].columns
    for row in 0..<answer.rows {
      let values = answer.values[scores] + row * columns
      var isSure = false
      for column in 0..<columns where values[column] >= least { isSure = true }
      if !isSure { return true }
    }
    return false
  }

  private func write(
    _ reasons: CaptureReasons, _ end: CapturedEnd, tensors: UInt32, requestBytes: Int, _ answer: CapturedValues?,
    request: (UnsafeMutableRawPointer) -> Void
  ) {
    let floats = answer.map { $0.rows * plan.collectedFloatsPerRow($0.selection) } ?? 0
    let head = CallRecordHead(
      status: end.status, reasons: reasons, source: source, time: end.arrival.nanoseconds, id: end.address.id,
      queueMicroseconds: end.timing.queueMicroseconds, computeMicroseconds: end.timing.computeMicroseconds,
      batchRows: end.timing.batchRows, rows: UInt32(clamping: answer?.rows ?? 0),
      selection: (answer?.selection ?? 0) & plan.outputSelection,
      tensors: tensors, floats: UInt32(clamping: floats), key: end.key)
    lane.write(head.bytes + requestBytes + 4 * floats) { place in
      head.write(to: place)
      request(place + head.bytes)
      guard let answer else { return }
      var target = place + head.bytes + requestBytes
      for index in plan.outputs.indices where answer.selection.selects(index) {
        let bytes = 4 * answer.rows * plan.outputs[index].floatsPerRow
        // Every processor that Needletail runs on is little-endian, as the format is.
        target.copyMemory(from: answer.values[index], byteCount: bytes)
        target += bytes
      }
    }
  }
}
