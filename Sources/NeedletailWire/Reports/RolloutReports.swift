public import NeedletailCore

/// The answer to `Rollout`: how requests of one model find their version.
public struct RolloutReport: Sendable, Equatable {
  public struct Arm: Sendable, Equatable {
    public var version: UInt64 = 0
    public var labels: [String] = []
    /// Part of the requests without a selector, in millionths.
    public var shareMillionths: UInt32 = 0
    public var requests: UInt64 = 0
    /// Requests that failed for a reason that may lie with the version.
    public var failed: UInt64 = 0
    public var rows: UInt64 = 0
    public var nonFinite: UInt64 = 0
    /// Mean time of the batches that its requests were computed in.
    public var computeNanoseconds: UInt64 = 0

    public init() {}
  }

  /// A version that gets no traffic, although the file gives it some.
  public struct Quarantined: Sendable, Equatable {
    public var version: UInt64 = 0
    /// `undo`, `guard_errors`, `guard_nan` or `guard_latency`; a newer server may know more.
    public var cause = ""
    public var reason = ""
    /// Unix time.
    public var sinceMilliseconds: UInt64 = 0

    public init() {}
  }

  /// A name that requests may use in place of a number.
  public struct Label: Sendable, Equatable {
    public var name = ""
    /// The version that the file names.
    public var version: UInt64 = 0
    /// The version that answers requests by this label now; 0: they are refused.
    public var answering: UInt64 = 0
    /// State of the version that the file names; nil if the store does not hold it.
    public var state: VersionState?
    /// Why that version does not answer; empty if it does.
    public var reason = ""

    public init() {}
  }

  /// A version that computes copies of what others answer.
  public struct Shadow: Sendable, Equatable {
    public var version: UInt64 = 0
    public var rows: UInt64 = 0
    /// Rows for which it named another class.
    public var flips: UInt64 = 0
    /// Rows that were not compared.
    public var skipped: UInt64 = 0
    public var nonFinite: UInt64 = 0
    /// The largest absolute difference of two numbers.
    public var maxDifference = 0.0
    public var computeNanoseconds: UInt64 = 0
    /// Why it is given no rows, or none of some version; empty if it is given all.
    public var problem = ""

    public init() {}
  }

  public var model = ""
  /// The version that answers requests without a selector; 0 if there is none.
  public var servingVersion: UInt64 = 0
  /// Every live version, newest first.
  public var arms: [Arm] = []
  public var quarantined: [Quarantined] = []
  public var shadow: Shadow?
  /// Text of the `rollout.yaml` in force; empty if there is none.
  public var file = ""
  /// The fault of the rollout file, in one sentence; empty if nothing is.
  public var problem = ""
  /// Whether what was undone or quarantined is remembered across restarts.
  public var isDurable = false
  /// Why it is not, although the server has a place for it: a full disk. Empty if it is, or if there is no such place.
  public var stateProblem = ""
  /// All labels of the file, by name, also those whose version is not live.
  public var labels: [Label] = []

  public init() {}
}

extension RolloutReport: WireMessage {
  static let wireName: StaticString = "RolloutResponse"

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    fields.text(1, &model)
    fields.number(2, &servingVersion)
    try fields.messages(3, &arms)
    try fields.messages(4, &quarantined)
    try fields.message(5, &shadow)
    fields.text(6, &file)
    fields.text(7, &problem)
    fields.flag(8, &isDurable)
    try fields.messages(9, &labels)
    fields.text(10, &stateProblem)
  }
}

extension RolloutReport.Arm: WireMessage {
  static let wireName: StaticString = "RolloutArm"

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    fields.number(1, &version)
    fields.texts(2, &labels)
    fields.number(3, &shareMillionths)
    fields.number(4, &requests)
    fields.number(5, &failed)
    fields.number(6, &rows)
    fields.number(7, &nonFinite)
    fields.number(8, &computeNanoseconds)
  }
}

extension RolloutReport.Quarantined: WireMessage {
  static let wireName: StaticString = "RolloutSetAside"

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    fields.number(1, &version)
    fields.text(2, &cause)
    fields.text(3, &reason)
    fields.number(4, &sinceMilliseconds)
  }
}

extension RolloutReport.Label: WireMessage {
  static let wireName: StaticString = "RolloutLabel"

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    fields.text(1, &name)
    fields.number(2, &version)
    fields.number(3, &answering)
    fields.choice(4, &state)
    fields.text(5, &reason)
  }
}

extension RolloutReport.Shadow: WireMessage {
  static let wireName: StaticString = "RolloutShadow"

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    fields.number(1, &version)
    fields.number(2, &rows)
    fields.number(3, &flips)
    fields.number(4, &skipped)
    fields.number(5, &nonFinite)
    fields.number(6, &maxDifference)
    fields.number(7, &computeNanoseconds)
    fields.text(8, &problem)
  }
}

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
