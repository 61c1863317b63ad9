internal import NeedletailCore
internal import NeedletailMetrics
internal import NeedletailServing
internal import NeedletailSystem

/// One event loop's part of tracing: its calls that are traced and not answered, and the ring to the thread that exports
/// them. Confined to the loop. It allocates nothing after it was made.
///
/// A caller whose `traceparent` says that it records its part decides; of calls without one, a part is drawn. A call is
/// known by a ticket, which travels in its ``ReplyAddress``; 0 is that of a call that is not traced.
final class TraceLane {
  private let ring: RecordRing
  private let wakeup: Wakeup
  private let lost: TraceCounters
  private let shard: Int
  /// Draws below it are traced where the caller says nothing.
  private let drawsMax: UInt64
  private let calls: UnsafeMutablePointer<CallSpan>
  /// Names of their models.
  private let names: UnsafeMutableRawPointer
  /// Tickets of places that are free.
  private var free: [UInt32]
  private var random = SplitMix64(seed: .random(in: 0 ... .max))

  private static let nameBytes = Limits.modelNameBytesMax

  /// - Parameter rate: part of the calls without a `traceparent` that are traced, 0 to 1.
  init(_ ring: RecordRing, _ wakeup: Wakeup, _ lost: TraceCounters, rate: Double, shard: Int) {
    self.ring = ring
    self.wakeup = wakeup
    self.lost = lost
    self.shard = shard
    drawsMax = rate >= 1 ? .max : UInt64(max(0, rate) * 0x1p64)
    calls = .allocate(capacity: Limits.tracedCallsMax)
    names = .allocate(byteCount: Limits.tracedCallsMax * Self.nameBytes, alignment: 1)
    free = (1...UInt32(Limits.tracedCallsMax)).reversed()
  }

  deinit {
    calls.deallocate()
    names.deallocate()
  }

  /// Draws a number that may name a trace or a span: none is 0.
  private func draw() -> UInt64 { max(1, random.next()) }

  /// Notes a call whose head was read.
  /// - Parameters:
  ///   - traceparent: as the caller sent it; empty where it sent none. What cannot be read counts as none.
  ///   - model: its name as sent. More bytes than a name may have are left out.
  /// - Returns: the call's ticket; 0: it is not traced.
  func begin(
    _ traceparent: UnsafeRawBufferPointer, model: UnsafeRawBufferPointer, rows: UInt64, wire: WireProtocol,
    began: Instant, arrived: Instant
  ) -> UInt32 {
    var context: TraceContext?
    if !traceparent.isEmpty {
      context = TraceContext(traceparent)
      if context == nil { lost.invalid.add(shard: shard) }
    }
    guard context?.isSampled ?? (drawsMax == .max || (drawsMax > 0 && draw() < drawsMax)) else { return 0 }
    guard let ticket = free.popLast() else {
      lost.busy.add(shard: shard)
      return 0
    }
    let name = UnsafeRawBufferPointer(rebasing: model.prefix(Self.nameBytes))
    if let base = name.baseAddress { place(ticket).copyMemory(from: base, byteCount: name.count) }
    calls[Int(ticket) - 1] = CallSpan(
      trace: context?.trace ?? TraceID(high: draw(), low: draw()), span: draw(), parent: context?.parent ?? 0,
      began: began, arrived: arrived, rows: UInt32(clamping: rows), wire: wire, modelBytes: UInt16(name.count))
    return ticket
  }

  private func place(_ ticket: UInt32) -> UnsafeMutableRawPointer { names + (Int(ticket) - 1) * Self.nameBytes }

  /// Hands over a call that is answered.
  /// - Parameter version: the one that answered.
  func end(_ ticket: UInt32, version: UInt64, _ timing: AnswerTiming, now: Instant) {
    let call = calls + (Int(ticket) - 1)
    call.pointee.version = version
    call.pointee.queueMicroseconds = timing.queueMicroseconds
    call.pointee.computeMicroseconds = timing.computeMicroseconds
    call.pointee.batchRows = timing.batchRows
    // The loop reads its clock seldom; a call does not end before its computation.
    let computed = call.pointee.arrived.advanced(
      byMicroseconds: UInt64(timing.queueMicroseconds) + UInt64(timing.computeMicroseconds))
    end(ticket, now: max(now, computed))
  }

  /// Hands over a call that got an error.
  func end(_ ticket: UInt32, _ status: StatusCode, now: Instant) {
    calls[Int(ticket) - 1].status = status
    end(ticket, now: max(now, calls[Int(ticket) - 1].arrived))
  }

  private func end(_ ticket: UInt32, now: Instant) {
    defer { free.append(ticket) }
    let call = calls + (Int(ticket) - 1)
    call.pointee.ended = now
    let nameBytes = Int(call.pointee.modelBytes)
    guard let record = ring.reserve(CallSpan.bytes + nameBytes) else { return lost.busy.add(shard: shard) }
    record.storeBytes(of: call.pointee, as: CallSpan.self)
    (record + CallSpan.bytes).copyMemory(from: place(ticket), byteCount: nameBytes)
    if ring.publish() { wakeup.signal() }
  }

  /// Forgets a call that will be taken again.
  func cancel(_ ticket: UInt32) { free.append(ticket) }
}

/// Counters of traced calls.
struct TraceCounters: Sendable {
  /// Calls whose spans the collector has.
  let exported: Counter
  /// Calls that should have been exported and were not: the loop or the ring had no room.
  let busy: Counter
  /// The collector was not reached, or did not recover in time.
  let unreachable: Counter
  /// The collector refused them.
  let refused: Counter
  /// Calls whose `traceparent` could not be read; they count as calls without one.
  let invalid: Counter

  init(_ metrics: MetricsRegistry) {
    exported = metrics.counter(
      "needletail_trace_calls_total", help: "Traced calls whose spans the collector has taken.")
    func lost(_ reason: String) -> Counter {
      metrics.counter(
        "needletail_trace_calls_lost_total", help: "Traced calls whose spans were not exported, by reason.",
        labels: [("reason", reason)])
    }
    busy = lost("busy")
    unreachable = lost("unreachable")
    refused = lost("refused")
    invalid = metrics.counter(
      "needletail_trace_contexts_invalid_total",
      help: "Calls with a traceparent that cannot be read, and that count as calls without one.")
  }
}
