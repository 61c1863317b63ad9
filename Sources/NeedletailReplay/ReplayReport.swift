public import NeedletailCapture
internal import NeedletailCore

/// What asking captured calls again has found.
public struct ReplayReport: Encodable, Sendable {
  /// A call whose answers differ.
  public struct Difference: Encodable, Sendable {
    /// Time of its arrival, such as `2026-11-28T05:10:00.123456Z`.
    public var time: String
    public var id: UInt64
    /// Version that answered it when it was captured.
    public var version: UInt64
    /// Output, or `status`.
    public var place: String
    public var expected: String
    public var found: String
  }

  /// Name of what was asked.
  public let model: String
  /// Name of what its answers were compared with.
  public let against: String
  /// Largest difference of two numbers that counts as none; 0: every bit counts.
  public let tolerance: Double
  /// Calls that were compared.
  public private(set) var compared = 0
  public private(set) var rows = 0
  public private(set) var same = 0
  public private(set) var different = 0
  /// Rows with another class or label.
  public private(set) var classChanges = 0
  /// Largest absolute difference of two finite numbers.
  public private(set) var maxDifference = 0.0
  /// Calls left out because of redacted features.
  public private(set) var redacted = 0
  /// Calls left out because they ended for a reason of that moment.
  public private(set) var momentary = 0
  public private(set) var first: [Difference] = []
  /// Whether the whole capture could be read.
  public var isWhole = true
  private let showMax: Int

  private enum CodingKeys: String, CodingKey {
    case model, against, tolerance, compared, rows, same, different, classChanges, maxDifference, redacted, momentary,
      first
    case isWhole
  }

  /// - Parameter showMax: calls kept in ``first``.
  public init(model: String, against: String, tolerance: Double = 0, showMax: Int) {
    self.model = model
    self.against = against
    self.tolerance = tolerance
    self.showMax = showMax
  }

  /// Whether at most this share of the calls differs, and the whole capture was read.
  public func allows(_ share: Double) -> Bool { isWhole && Double(different) <= share * Double(compared) }

  /// Whether a call cannot be asked again; counts it then.
  public mutating func leavesOut(_ call: CapturedCall) -> Bool {
    if call.isRedacted {
      redacted += 1
      return true
    }
    switch call.status {
    case .ok, .invalidArgument, .notFound: return false
    default:
      momentary += 1
      return true
    }
  }

  /// Compares two answers to a call.
  public mutating func add(_ pair: ReplayPair) {
    compared += 1
    rows += pair.call.rows
    guard let found = difference(pair) else {
      same += 1
      return
    }
    different += 1
    if first.count < showMax { first.append(found) }
  }

  private mutating func difference(_ pair: ReplayPair) -> Difference? {
    let (asked, expected) = (pair.asked, pair.expected)
    func difference(_ place: String, _ expected: String, _ found: String) -> Difference {
      Difference(
        time: UnixTime.text(microseconds: pair.call.microseconds), id: pair.call.id, version: pair.call.model.version,
        place: place, expected: expected, found: found)
    }
    guard asked.status == expected.status else {
      let found = asked.message.isEmpty ? "\(asked.status)" : "\(asked.status): \(asked.message)"
      return difference("status", "\(expected.status)", found)
    }
    var found: Difference?
    for name in Set(asked.outputs.keys).union(expected.outputs.keys).sorted() {
      guard let mine = asked.outputs[name], let its = expected.outputs[name] else {
        found = found ?? difference(name, expected.outputs[name] == nil ? "no such output" : "an output", "the other")
        continue
      }
      if let (expected, value) = compare(its, mine) { found = found ?? difference(name, expected, value) }
    }
    return found
  }

  /// Compares two outputs, and counts what differs.
  /// - Returns: the first difference; nil: they are the same, bit for bit or within the tolerance.
  private mutating func compare(
    _ expected: ReplayAnswer.Values, _ found: ReplayAnswer.Values
  ) -> (expected: String, found: String)? {
    var first: (String, String)?
    switch (expected, found) {
    case (.floats(let x), .floats(let y)):
      guard x.count == y.count else { return ("\(x.count) numbers", "\(y.count)") }
      for index in x.indices where x[index].bitPattern != y[index].bitPattern {
        let distance = abs(Double(x[index]) - Double(y[index]))
        if distance.isFinite { maxDifference = max(maxDifference, distance) }
        // With a tolerance, zeros of both signs are the same number, and so are all that are none.
        if tolerance > 0, distance <= tolerance || x[index].isNaN && y[index].isNaN { continue }
        first = first ?? ("\(x[index])", "\(y[index])")
      }
    case (.integers(let x), .integers(let y)):
      guard x.count == y.count else { return ("\(x.count) classes", "\(y.count)") }
      for index in x.indices where x[index] != y[index] {
        classChanges += 1
        first = first ?? ("\(x[index])", "\(y[index])")
      }
    case (.strings(let x), .strings(let y)):
      guard x.count == y.count else { return ("\(x.count) labels", "\(y.count)") }
      for index in x.indices where x[index] != y[index] {
        classChanges += 1
        first = first ?? (x[index].quotedForMessage, y[index].quotedForMessage)
      }
    default: return ("values of the same type", "others")
    }
    return first
  }
}
