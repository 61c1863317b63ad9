internal import NeedletailCapture
internal import NeedletailCore
internal import NeedletailMetrics
internal import NeedletailModels
internal import NeedletailSystem
internal import Synchronization

/// The thread that takes records from the rings of all loops, redacts them and writes them.
///
/// `@unchecked Sendable`: what is not in `shared` belongs to the thread.
final class CaptureThread: @unchecked Sendable {
  private struct Shared {
    var rings: [RecordRing] = []
    var sources: [CaptureSource] = []
    /// Sentences that were or will be reported, each once.
    var said: Set<String> = []
    var unsaid: [String] = []
    /// Outcomes that are to be written.
    var outcomes: [CapturedOutcome] = []
    var isStopped = false
    var whenStopped: (@Sendable () -> Void)?
  }

  let wakeup = Wakeup()
  private let shared = Mutex(Shared())
  private let directory: CaptureDirectory
  private let series: CaptureSeries
  private let losses: CaptureLosses
  private let report: @Sendable (String) -> Void

  private var sources: [CaptureSource] = []
  private var segment: SegmentWriter?
  /// Time at which the segment is ended however few bytes it has.
  private var segmentEnd: Instant?
  /// Calls of each source in the block that is not written yet.
  private var pending: [UInt32: Int] = [:]
  /// Outcomes in that block.
  private var pendingOutcomes = 0
  private var flushDue: Instant?
  private var pruneDue = Instant(nanoseconds: 0)
  /// End of the pause after a failure of the disk; nil: it works.
  private var retryDue: Instant?
  private var lostToDisk = 0
  /// Microseconds of the wall clock less those of the monotonic one.
  private var wallOffset: Int64 = 0

  init(
    _ directory: CaptureDirectory, _ series: CaptureSeries, _ losses: CaptureLosses,
    report: @escaping @Sendable (String) -> Void
  ) {
    self.directory = directory
    self.series = series
    self.losses = losses
    self.report = report
  }

  // MARK: called by others

  func addRing() -> RecordRing {
    let ring = RecordRing(bytes: Limits.captureRingBytes)
    shared.withLock { $0.rings.append(ring) }
    wakeup.signal()
    return ring
  }

  /// Number by which records refer to a version.
  func source(of model: LiveModel, _ rule: CaptureRule, key: [UInt8]) -> UInt32 {
    shared.withLock { shared in
      let known = shared.sources.firstIndex { source in
        source.model.name == model.model.name && source.model.version == model.version.number
          && source.model.digest == model.digest
      }
      if let known { return UInt32(known) }
      shared.sources.append(CaptureSource(model, rule, key: key))
      return UInt32(shared.sources.count - 1)
    }
  }

  /// Reports a sentence, once however often it is said.
  func say(_ sentence: String) {
    let isNew = shared.withLock { shared in
      guard shared.said.insert(sentence).inserted else { return false }
      shared.unsaid.append(sentence)
      return true
    }
    if isNew { wakeup.signal() }
  }

  /// Leaves outcomes to be written; those for which there is no room are counted as lost.
  func record(_ outcomes: [CapturedOutcome]) {
    let taken = shared.withLock { shared in
      let room = min(outcomes.count, Limits.feedbackCaptureQueueMax - shared.outcomes.count)
      shared.outcomes += outcomes.prefix(room)
      return room
    }
    if taken < outcomes.count { losses.counter(.busy).add(UInt64(outcomes.count - taken)) }
    wakeup.signal()
  }

  /// Ends the thread.
  /// - Parameter whenStopped: called on the thread when all is written.
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
    for sentence in directory.recover() { report(sentence) }
    var next: Instant? = Instant.now()
    while true {
      _ = wakeup.wait(until: next)
      let (rings, isStopped, whenStopped, sentences, outcomes) = shared.withLock { shared in
        defer { (shared.unsaid, shared.outcomes) = ([], []) }
        return (shared.rings, shared.isStopped, shared.whenStopped, shared.unsaid, shared.outcomes)
      }
      for sentence in sentences { report(sentence) }
      let found = drain(rings) + outcomes.count
      for outcome in outcomes { take(outcome) }
      let now = Instant.now()
      if isStopped {
        endSegment()
        whenStopped?()
        return
      }
      if let due = flushDue, now >= due { flush() }
      if let end = segmentEnd, now >= end { endSegment() }
      if now >= pruneDue { prune(now, room: 0) }
      if found > 0 {
        // Calls that come meanwhile wait in the rings, and wake nobody.
        next = now.advanced(byMicroseconds: UInt64(Limits.capturePauseMicroseconds))
        continue
      }
      var isIdle = true
      for ring in rings where !ring.awaitNext() { isIdle = false }
      next = isIdle ? min(flushDue ?? pruneDue, segmentEnd ?? pruneDue, pruneDue) : now
    }
  }

  private func drain(_ rings: [RecordRing]) -> Int {
    let now = Moment.now()
    wallOffset = Int64(now.milliseconds) * 1000 - Int64(now.instant.nanoseconds / 1000)
    return rings.reduce(0) { count, ring in count + ring.drain(take) }
  }

  private func take(_ record: UnsafeRawBufferPointer) {
    do throws(CaptureError) {
      var head = try CallRecordHead(reading: record)
      if head.source >= sources.count { sources = shared.withLock { $0.sources } }
      let source = sources[Int(head.source)]
      head.time = UInt64(clamping: Int64(head.time / 1000) + wallOffset)
      let answerBytes = 4 * Int(head.floats)
      let request = UnsafeRawBufferPointer(rebasing: record[head.bytes..<record.count - answerBytes])
      let answer = UnsafeRawBufferPointer(rebasing: record[(record.count - answerBytes)...])
      guard try beginSegment() else { return loseToDisk(1) }
      if let redactor = source.redactor {
        let (kept, tensors) = try redactor.redact(request, tensors: Int(head.tensors))
        head.tensors = UInt32(tensors)
        try kept.withUnsafeBufferPointer { (kept) throws(CaptureError) -> Void in
          try segment?.append(
            head, request: UnsafeRawBufferPointer(kept), answer: answer, of: source.model)
        }
      } else {
        try segment?.append(head, request: request, answer: answer, of: source.model)
      }
      pending[head.source, default: 0] += 1
    } catch {
      if error.reason == .io { fail(error, losing: 1) } else { losses.counter(.large).add() }
      return
    }
    flushSoon()
  }

  private func take(_ outcome: CapturedOutcome) {
    do throws(CaptureError) {
      guard try beginSegment() else { return loseToDisk(1) }
    } catch {
      return fail(error, losing: 1)
    }
    segment?.append(outcome)
    pendingOutcomes += 1
    flushSoon()
  }

  private func flushSoon() {
    if flushDue == nil {
      flushDue = Instant.now().advanced(byMicroseconds: UInt64(Limits.captureFlushMicroseconds))
    }
    if segment?.isBlockFull == true { flush() }
  }

  // MARK: segments

  /// Begins a segment if there is none.
  /// - Returns: false during the pause after a failure.
  private func beginSegment() throws(CaptureError) -> Bool {
    guard segment == nil else { return true }
    let now = Instant.now()
    if let due = retryDue {
      guard now >= due else { return false }
      for sentence in directory.recover() { report(sentence) }
    }
    prune(now, room: directory.segmentBytesMax)
    segment = try directory.begin(microseconds: UInt64(clamping: Int64(now.nanoseconds / 1000) + wallOffset))
    segmentEnd = now.advanced(byMicroseconds: UInt64(directory.segmentSecondsMax) * 1_000_000)
    return true
  }

  private func flush() {
    flushDue = nil
    guard segment != nil else { return }
    let before = segment?.bytes ?? 0
    do throws(CaptureError) {
      _ = try segment?.flush()
      let bytes = (segment?.bytes ?? 0) - before
      if bytes > 0 { written(bytes: bytes) }
    } catch {
      segment = nil
      segmentEnd = nil
      return fail(error, losing: takePending())
    }
    if segment?.isFull == true { endSegment() }
  }

  private func endSegment() {
    flushDue = nil
    segmentEnd = nil
    guard let last = segment.take() else { return }
    do throws(CaptureError) {
      // A segment that had nothing since its last block is ended all the same.
      if try last.end() > 0 || pendingOutcomes > 0 { written(bytes: 0) }
    } catch {
      fail(error, losing: takePending())
    }
    prune(Instant.now(), room: 0)
  }

  private func written(bytes: Int) {
    for (source, calls) in pending { series.calls(of: sources[Int(source)].model.name).add(UInt64(calls)) }
    pending.removeAll(keepingCapacity: true)
    pendingOutcomes = 0
    series.writtenBytes.add(UInt64(bytes))
    guard retryDue != nil else { return }
    retryDue = nil
    report("capture: \(directory.path) can be written again; \(lostToDisk) calls and outcomes were not captured")
    lostToDisk = 0
  }

  /// Removes what is too old or too much, and counts what is left.
  private func prune(_ now: Instant, room: Int) {
    let (segments, bytes) = directory.prune(nowSeconds: Int(UnixTime.nowMilliseconds() / 1000), room: room)
    series.segments.set(Double(segments))
    series.storedBytes.set(Double(bytes))
    pruneDue = now.advanced(byMicroseconds: UInt64(Limits.capturePruneMicroseconds))
  }

  // MARK: failures

  /// Number of the calls and outcomes in the block that is not written, which are lost.
  private func takePending() -> Int {
    defer {
      pending.removeAll(keepingCapacity: true)
      pendingOutcomes = 0
    }
    return pending.values.reduce(pendingOutcomes, +)
  }

  /// - Parameter records: calls and outcomes.
  private func fail(_ error: CaptureError, losing records: Int) {
    if retryDue == nil { report("capture: \(error.message); calls are answered, and not captured until this works") }
    retryDue = Instant.now().advanced(byMicroseconds: UInt64(Limits.captureRetryMicroseconds))
    loseToDisk(records)
  }

  private func loseToDisk(_ records: Int) {
    lostToDisk += records
    losses.counter(.disk).add(UInt64(records))
  }
}
