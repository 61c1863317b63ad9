/// Something that happened to a model, to the store or to the server.
public struct EventReport: Sendable, Equatable {
  public struct Fact: Sendable, Equatable {
    public var name: String
    public var value: String

    public init(_ name: String, _ value: String) {
      self.name = name
      self.value = value
    }
  }

  /// Number of the event: from 1 when the server starts, without gaps.
  public var sequence: UInt64
  /// Unix time.
  public var milliseconds: UInt64
  /// `version`, `serving`, `store`, `trust`, `rollout`, `alarm` or `server`; a newer server may know more.
  public var kind: String
  /// `debug`, `info`, `notice`, `warning` or `error`.
  public var severity: String
  public var message: String
  /// Empty if the event is about no model.
  public var model: String
  /// 0 if the event is about no version.
  public var version: UInt64
  public var facts: [Fact]

  public init(
    sequence: UInt64 = 0, milliseconds: UInt64 = 0, kind: String = "", severity: String = "", message: String = "",
    model: String = "", version: UInt64 = 0, facts: [Fact] = []
  ) {
    self.sequence = sequence
    self.milliseconds = milliseconds
    self.kind = kind
    self.severity = severity
    self.message = message
    self.model = model
    self.version = version
    self.facts = facts
  }
}

/// The answer to `Events`.
public struct EventListReport: Sendable, Equatable {
  /// The first event that the server still keeps, and the last so far; 0 while there is none.
  public var oldest: UInt64
  public var newest: UInt64
  /// Events, oldest first.
  public var events: [EventReport]
  /// Unix time at which the numbering began: a restarted server begins anew.
  public var beganMilliseconds: UInt64

  public init(oldest: UInt64 = 0, newest: UInt64 = 0, events: [EventReport] = [], beganMilliseconds: UInt64 = 0) {
    self.oldest = oldest
    self.newest = newest
    self.events = events
    self.beganMilliseconds = beganMilliseconds
  }
}

extension EventListReport: WireMessage {
  static let wireName: StaticString = "EventsResponse"

  init() { self.init(oldest: 0) }

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    fields.number(1, &oldest)
    fields.number(2, &newest)
    try fields.messages(3, &events)
    fields.number(4, &beganMilliseconds)
  }
}

extension EventReport: WireMessage {
  static let wireName: StaticString = "Event"

  init() { self.init(sequence: 0) }

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    fields.number(1, &sequence)
    fields.number(2, &milliseconds)
    fields.text(3, &kind)
    fields.text(4, &severity)
    fields.text(5, &message)
    fields.text(6, &model)
    fields.number(7, &version)
    try fields.messages(8, &facts)
  }
}

extension EventReport.Fact: WireMessage {
  static let wireName: StaticString = "EventFact"

  init() { self.init("", "") }

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    fields.text(1, &name)
    fields.text(2, &value)
  }
}
