internal import Glibc
internal import NeedletailCore
internal import NeedletailMetrics
internal import NeedletailSystem
internal import Synchronization

/// Exports traced calls of all loops, on a thread of its own.
///
/// Loops leave calls in rings, and lose some, counted, rather than wait for a collector that is slow or gone.
final class TraceService: Sendable {
  private let thread: TraceThread
  private let rate: Double
  private let counters: TraceCounters

  /// Starts the thread.
  ///
  /// - Parameters:
  ///   - service: name of this server in its spans.
  ///   - rate: part of the calls without a `traceparent` that are traced, 0 to 1.
  ///   - report: called on the thread with sentences about the collector, when it begins to fail and when it works again.
  init(
    _ collector: TraceCollector, service: String, rate: Double, metrics: MetricsRegistry,
    report: @escaping @Sendable (String) -> Void
  ) {
    self.rate = rate
    counters = TraceCounters(metrics)
    thread = TraceThread(collector, service: service, counters, report: report)
    NativeThread.start(name: "nt-trace", niceness: 10) { [thread] in thread.run() }
  }

  deinit { thread.stop() }

  /// Makes one loop's part.
  func lane(shard: Int) -> TraceLane {
    TraceLane(thread.addRing(), thread.wakeup, counters, rate: rate, shard: shard)
  }

  /// Exports what the loops left, and ends the thread. Called once the loops have stopped.
  func stop() async {
    await withCheckedContinuation { continuation in thread.stop { continuation.resume() } }
  }
}

/// The thread that takes calls from the rings of all loops and sends their spans.
///
/// `@unchecked Sendable`: what is not in `shared` belongs to the thread.
private final class TraceThread: @unchecked Sendable {
  private struct Shared {
    var rings: [RecordRing] = []
    var isStopped = false
    var whenStopped: (@Sendable () -> Void)?
  }

  /// A request to the collector, and the number of its calls.
  private struct Export {
    var request: [UInt8]
    var calls: Int
  }

  let wakeup = Wakeup()
  private let shared = Mutex(Shared())
  private let collector: TraceCollector
  private let service: String
  private let counters: TraceCounters
  private let report: @Sendable (String) -> Void

  private var schedule = ExportSchedule()
  /// Calls that wait for an export: fewer than two exports take, and what the rings held beside them.
  private var calls: [SpanEncoder.Call] = []
  /// Export that failed and is sent again as it is: a collector that took it after all must find the same spans.
  private var unsent: Export?
  private var isFailing = false
  private var lostWhileFailing = 0
  private var numbers = SystemRandomNumberGenerator()

  init(
    _ collector: TraceCollector, service: String, _ counters: TraceCounters,
    report: @escaping @Sendable (String) -> Void
  ) {
    self.collector = collector
    self.service = service
    self.counters = counters
    self.report = report
  }

  // MARK: called by others

  func addRing() -> RecordRing {
    let ring = RecordRing(bytes: Limits.traceRingBytes)
    shared.withLock { $0.rings.append(ring) }
    wakeup.signal()
    return ring
  }

  /// Ends the thread.
  /// - Parameter whenStopped: called on the thread when all is exported, or given up.
  func stop(_ whenStopped: (@Sendable () -> Void)? = nil) {
    let isLate = shared.withLock { shared in
      if shared.isStopped { return true }
      shared.isStopped = true
      shared.whenStopped = whenStopped
      return false
    }
    if isLate { whenStopped?() }
    wakeup.signal()
  }

  // MARK: the thread

  func run() {
    var next: Instant?
    while true {
      _ = wakeup.wait(until: next)
      let (rings, isStopped, whenStopped) = shared.withLock { ($0.rings, $0.isStopped, $0.whenStopped) }
      if isStopped {
        exportRest(rings)
        whenStopped?()
        return
      }
      take(rings)
      let now = Instant.now()
      if let due = schedule.due, now >= due {
        export(deadline: now.advanced(byMicroseconds: UInt64(Limits.traceSendMicroseconds)))
        noteWaiting()
      }
      next = schedule.due
      // While calls wait for their export, others that come wake the thread only where a ring is half full.
      if next == nil, rings.contains(where: { !$0.awaitNext() }) { next = Instant.now() }
    }
  }

  /// Takes the calls of the rings while fewer wait than two exports take.
  private func take(_ rings: [RecordRing]) {
    for ring in rings where calls.count < 2 * Limits.traceExportCallsMax { _ = ring.drain { [self] in take($0) } }
    noteWaiting()
  }

  private func noteWaiting() {
    guard !calls.isEmpty else { return }
    schedule.waiting(isFull: calls.count >= Limits.traceExportCallsMax, now: Instant.now())
  }

  private func take(_ record: UnsafeRawBufferPointer) {
    let span = record.loadUnaligned(as: CallSpan.self)
    let name = UnsafeRawBufferPointer(rebasing: record[CallSpan.bytes...].prefix(Int(span.modelBytes)))
    calls.append(SpanEncoder.Call(span: span, model: String(decoding: name, as: UTF8.self)))
  }

  // MARK: exports

  private func export(deadline: Instant) {
    let export = unsent ?? nextExport()
    unsent = nil
    let answer = collector.send(export.request, deadline: deadline)
    switch schedule.ended(answer.result, now: Instant.now()) {
    case .done: taken(export, answer)
    case .again:
      unsent = export
      fail(answer.reason, losing: 0)
    case .givenUp:
      let calls = export.calls
      (answer.result == .refused ? counters.refused : counters.unreachable).add(UInt64(calls))
      fail(answer.reason, losing: calls)
    }
  }

  private func nextExport() -> Export {
    let next = calls.prefix(Limits.traceExportCallsMax)
    let encoder = SpanEncoder(service: service, wallOffset: Self.wallOffset()) { [self] in
      UInt64.random(in: 1 ... .max, using: &numbers)
    }
    let export = Export(request: encoder.encode(Array(next)), calls: next.count)
    calls.removeFirst(next.count)
    return export
  }

  private func taken(_ export: Export, _ answer: TraceCollector.Answer) {
    // A call that lost a part of its spans counts as refused, as far as the collector tells: it counts spans.
    let refused = min(answer.rejectedSpans, UInt64(export.calls))
    counters.exported.add(UInt64(export.calls) - refused)
    if refused > 0 {
      counters.refused.add(refused)
      return fail("\(collector.name): \(answer.reason.quotedForMessage)", losing: Int(refused))
    }
    guard isFailing else { return }
    isFailing = false
    report("tracing: \(collector.name) takes spans again; those of \(lostWhileFailing) calls were lost")
    lostWhileFailing = 0
  }

  private func fail(_ reason: String, losing calls: Int) {
    lostWhileFailing += calls
    guard !isFailing else { return }
    isFailing = true
    report("tracing: \(reason); calls are answered, and their spans lost if this lasts")
  }

  private func exportRest(_ rings: [RecordRing]) {
    for ring in rings { _ = ring.drain { [self] in take($0) } }
    let deadline = Instant.now().advanced(byMicroseconds: UInt64(Limits.traceStopMicroseconds))
    while unsent != nil || !calls.isEmpty, Instant.now() < deadline {
      export(deadline: deadline)
      // There is no time for pauses.
      if unsent != nil { break }
    }
    counters.unreachable.add(UInt64(calls.count + (unsent?.calls ?? 0)))
  }

  /// Nanoseconds of the wall clock less those of the monotonic one.
  private static func wallOffset() -> Int64 {
    var wall = timespec()
    clock_gettime(CLOCK_REALTIME, &wall)
    return Int64(wall.tv_sec) * 1_000_000_000 + Int64(wall.tv_nsec) - Int64(clamping: Instant.now().nanoseconds)
  }
}
