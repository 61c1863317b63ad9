internal import DequeModule
public import Logging
public import NeedletailCore
internal import Synchronization

/// The last events of one server. Each is numbered, kept for readers, and written as one log line.
///
/// Any part of the control plane may emit and read. Both take a lock and make text, so the data path does neither.
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

  /// Unix time at which the numbering began: a reader that follows a restarted server begins anew.
  public let beganMilliseconds: UInt64
  /// Number of events that are kept.
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
    let facts = facts.prefix(Limits.eventFactsMax).map {
      $0.isNumber ? $0 : Event.Fact($0.name, $0.value.cut(toBytes: Limits.eventTextBytesMax))
    }
    let event = ring.withLock { ring in
      ring.newest += 1
      let event = Event(
        sequence: ring.newest, milliseconds: time, kind: kind, severity: severity,
        message: message.cut(toBytes: Limits.eventTextBytesMax),
        model: model, version: version, facts: facts)
      if ring.events.count == capacity { ring.events.removeFirst() }
      ring.events.append(event)
      return event
    }
    log(event)
  }

  /// Events after `sequence`, oldest first. If there are more than `limit`, the oldest are returned, so that a reader that
  /// asks again from the last one it got misses nothing that the log still has.
  public func page(after sequence: UInt64, limit: Int = Limits.eventsMax) -> Page {
    ring.withLock { ring in
      let oldest = ring.events.first?.sequence ?? 0
      // A sequence is foreign input and may lie beyond the newest event.
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
    var metadata: Logger.Metadata = ["event": .stringConvertible(event.sequence)]
    if let model = event.model { metadata["model"] = "\(model)" }
    if let version = event.version { metadata["version"] = .stringConvertible(version.number) }
    for fact in event.facts where !fact.value.isEmpty { metadata[fact.name] = fact.metadata }
    logger.log(level: level, "\(event.message)", metadata: metadata)
  }
}

/// Something that happened to a model, to the store or to the server, for people.
public struct Event: Sendable, Equatable {
  /// The subject of the event.
  public enum Kind: String, Sendable, CaseIterable {
    /// A version entered a state, or its reason changed.
    case version
    /// Another version answers requests that name none.
    case serving
    /// A file in the store that cannot be used, or the store itself.
    case store
    /// The trust file: keys, revocations, minimum versions.
    case trust
    /// Labels, split, shadow, guard, quarantine, undo.
    case rollout
    /// Somebody has to look: a guard that fired, a revoked key that still serves.
    case alarm
    /// The process: started, ready, draining.
    case server
  }

  public enum Severity: String, Sendable, CaseIterable, Comparable {
    case debug, info, notice, warning, error

    private var rank: Int {
      switch self {
      case .debug: 0
      case .info: 1
      case .notice: 2
      case .warning: 3
      case .error: 4
      }
    }

    public static func < (a: Severity, b: Severity) -> Bool { a.rank < b.rank }
  }

  /// One named value, e.g. `state` or `reason`. Values may be foreign text: escape them where they are shown.
  public struct Fact: Sendable, Equatable {
    public let name: String
    public let value: String
    /// Whether the value is a number, which logs in JSON write without quotes.
    public let isNumber: Bool

    public init(_ name: String, _ value: String) {
      self.name = name
      self.value = value
      isNumber = false
    }

    public init(_ name: String, _ number: some BinaryInteger) {
      self.name = name
      value = "\(number)"
      isNumber = true
    }

    public init(_ name: String, _ number: Double) {
      self.name = name
      value = "\(number)"
      isNumber = true
    }

    fileprivate var metadata: Logger.Metadata.Value {
      guard isNumber else { return "\(value)" }
      if let integer = Int64(value) { return .stringConvertible(integer) }
      return Double(value).map { .stringConvertible($0) } ?? "\(value)"
    }
  }

  /// Number from 1, without gaps: a reader that sees a gap knows that the log has dropped the events between.
  public let sequence: UInt64
  /// Unix time.
  public let milliseconds: UInt64
  public let kind: Kind
  public let severity: Severity
  /// The event in the server's own words.
  public let message: String
  public let model: ModelID?
  public let version: ModelVersion?
  public let facts: [Fact]

  /// - Returns: nil if the event has no such fact.
  public func fact(_ name: String) -> String? { facts.first { $0.name == name }?.value }
}
