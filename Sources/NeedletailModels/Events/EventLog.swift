internal import DequeModule
public import Logging
public import NeedletailCore
internal import Synchronization

/// The last events of one server: each is numbered, kept for whoever asks, and written as one log line.
///
/// Anyone on the control plane may emit and read; it takes a lock and makes text, so no data path does.
///
/// ```swift
/// events.emit(.rollout, .notice, "rollout undone", model: model, version: back, [.init("from", "4")])
/// ```
public final class EventLog: Sendable {
  /// Events on one page, oldest first, and how far the log reaches.
  public struct Page: Sendable, Equatable {
    /// The first event that the log still has; 0 while it is empty.
    public var oldest: UInt64
    /// The last event so far; 0 while it is empty.
    public var newest: UInt64
    public var events: [Event]
  }

  private struct Ring {
    var events = Deque<Event>()
    var newest: UInt64 = 0
  }

  /// Unix time at which the numbering began: who follows a server that was restarted begins anew.
  public let beganMilliseconds: UInt64
  /// How many are kept.
  public let capacity: Int
  private let logger: Logger
  private let milliseconds: @Sendable () -> UInt64
  private let ring = Mutex(Ring())

  public convenience init(logger: Logger) {
    self.init(capacity: Limits.eventsMax, logger: logger) { Moment.now().milliseconds }
  }

  /// - Parameter milliseconds: reads the wall clock.
  package init(capacity: Int, logger: Logger, milliseconds: @escaping @Sendable () -> UInt64) {
    precondition(capacity > 0, "an event log needs room")
    self.capacity = capacity
    self.logger = logger
    self.milliseconds = milliseconds
    beganMilliseconds = milliseconds()
  }

  /// Numbers, keeps and logs one event. Texts beyond ``Limits/eventTextBytesMax`` are cut, facts beyond
  /// ``Limits/eventFactsMax`` dropped.
  public func emit(
    _ kind: Event.Kind, _ severity: Event.Severity, _ message: String, model: ModelID? = nil,
    version: ModelVersion? = nil, _ facts: [Event.Fact] = []
  ) {
    let time = milliseconds()
    let facts = facts.prefix(Limits.eventFactsMax).map { Event.Fact($0.name, Self.cut($0.value)) }
    let event = ring.withLock { ring in
      ring.newest += 1
      let event = Event(
        sequence: ring.newest, milliseconds: time, kind: kind, severity: severity, message: Self.cut(message),
        model: model, version: version, facts: facts)
      if ring.events.count == capacity { ring.events.removeFirst() }
      ring.events.append(event)
      return event
    }
    log(event)
  }

  /// What was emitted after `sequence`, oldest first. Of more than `limit` events the oldest, so that a
  /// reader who asks again from the last one it got misses nothing that the log still has.
  public func page(after sequence: UInt64, limit: Int = Limits.eventsMax) -> Page {
    ring.withLock { ring in
      let oldest = ring.events.first?.sequence ?? 0
      // A sequence may come from anywhere: beyond the newest, nothing is left.
      let skipped = sequence < oldest ? 0 : Int(clamping: min(sequence, ring.newest) + 1 - oldest)
      return Page(
        oldest: oldest, newest: ring.newest, events: Array(ring.events.dropFirst(skipped).prefix(max(0, limit))))
    }
  }

  /// The last `count` events, oldest first.
  public func last(_ count: Int) -> Page {
    ring.withLock { ring in
      Page(
        oldest: ring.events.first?.sequence ?? 0, newest: ring.newest,
        events: Array(ring.events.suffix(max(0, count))))
    }
  }

  private func log(_ event: Event) {
    let level: Logger.Level =
      switch event.severity {
      case .debug: .debug
      case .info: .info
      case .notice: .notice
      case .warning: .warning
      case .error: .error
      }
    guard logger.logLevel <= level else { return }
    var metadata: Logger.Metadata = ["event": "\(event.sequence)"]
    if let model = event.model { metadata["model"] = "\(model)" }
    if let version = event.version { metadata["version"] = "\(version)" }
    for fact in event.facts where !fact.value.isEmpty { metadata[fact.name] = "\(fact.value)" }
    logger.log(level: level, "\(event.message)", metadata: metadata)
  }

  private static func cut(_ text: String) -> String {
    guard text.utf8.count > Limits.eventTextBytesMax else { return text }
    var end = text.utf8.index(text.startIndex, offsetBy: Limits.eventTextBytesMax)
    // Back to where a scalar begins.
    while end > text.startIndex, UTF8.isContinuation(text.utf8[end]) { end = text.utf8.index(before: end) }
    return String(text[..<end]) + "…"
  }
}
