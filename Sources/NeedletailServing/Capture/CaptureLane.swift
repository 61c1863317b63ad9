internal import NeedletailCapture
internal import NeedletailCore
internal import NeedletailMetrics
internal import NeedletailSystem

/// What is left of a call's request until it is clear whether the call is captured. Plain bits, so that moving calls
/// about costs nothing.
struct CaptureTicket: BitwiseCopyable {
  enum State: UInt8 {
    /// Nothing about the call makes it captured.
    case unwanted
    /// The request stands in memory.
    case kept
    /// There was no room for the request.
    case busy
    /// The request is larger than any may be.
    case large
  }

  var state = State.unwanted
  /// Whether the call was drawn.
  var isDrawn = false
  var tensors: UInt32 = 0
  /// Bytes of the request.
  var bytes: UInt32 = 0
  /// Place of the request in its memory.
  var offset = 0

  static let unwanted = CaptureTicket()
}

/// One event loop's part of capturing: memory for requests of a tick, the ring to the capture thread, and the draw.
/// Confined to the loop.
final class CaptureLane {
  private let ring: RecordRing
  private let wakeup: Wakeup
  private let lost: CaptureLosses
  private let shard: Int
  private let stage: UnsafeMutableRawPointer
  private var staged = 0
  private var random: UInt64

  init(_ ring: RecordRing, _ wakeup: Wakeup, _ lost: CaptureLosses, shard: Int) {
    self.ring = ring
    self.wakeup = wakeup
    self.lost = lost
    self.shard = shard
    stage = .allocate(byteCount: Limits.captureStageBytes, alignment: 8)
    stage.initializeMemory(as: UInt8.self, repeating: 0, count: Limits.captureStageBytes)
    random = .random(in: 1 ... .max)
  }

  deinit { stage.deallocate() }

  /// Draws a number of 64 bits (xorshift64*, Vigna 2016).
  func draw() -> UInt64 {
    random ^= random >> 12
    random ^= random << 25
    random ^= random >> 27
    return random &* 0x2545_F491_4F6C_DD1D
  }

  /// Copies a request to the memory of the tick.
  func keep(_ tensors: UnsafeBufferPointer<TensorView>, _ ticket: inout CaptureTicket) {
    guard ticket.state == .kept else { return }
    guard staged + Int(ticket.bytes) <= Limits.captureStageBytes else {
      ticket.state = .busy
      return
    }
    ticket.offset = staged
    RequestRecord.write(tensors, to: stage + staged)
    staged += Int(ticket.bytes)
  }

  /// The request of a ticket in the memory of the tick.
  func request(_ ticket: CaptureTicket) -> UnsafeRawPointer { UnsafeRawPointer(stage + ticket.offset) }

  /// Forgets all requests in the memory of the tick.
  func endTick() { staged = 0 }

  func count(_ loss: CaptureLosses.Reason) { lost.counter(loss).add(shard: shard) }

  /// Hands a record to the capture thread, or counts it as lost.
  /// - Parameter body: writes the record.
  func write(_ bytes: Int, _ body: (UnsafeMutableRawPointer) -> Void) {
    guard bytes <= Limits.captureRecordBytesMax else { return count(.large) }
    guard let place = ring.reserve(bytes) else { return count(.busy) }
    body(place)
    if ring.publish() { wakeup.signal() }
  }
}

/// Counters of calls, and of outcomes of them, that should have been captured and were not.
struct CaptureLosses: Sendable {
  enum Reason: String, CaseIterable {
    /// The capture thread was too slow, or there was no room for the request beside the rows of a call that waits.
    case busy
    /// The call is larger than any record may be.
    case large
    /// The disk is full, or failed.
    case disk
  }

  private let counters: [Counter]

  init(_ metrics: MetricsRegistry) {
    counters = Reason.allCases.map { reason in
      metrics.counter(
        "needletail_capture_lost_total",
        help: "Calls of a rule, and outcomes of them, that were not written, by reason.",
        labels: [("reason", reason.rawValue)])
    }
  }

  func counter(_ reason: Reason) -> Counter {
    switch reason {
    case .busy: counters[0]
    case .large: counters[1]
    case .disk: counters[2]
    }
  }
}
