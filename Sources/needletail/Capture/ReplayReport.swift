internal import NeedletailCapture
internal import NeedletailClient
internal import NeedletailCore

/// What a replay found.
struct ReplayReport: Encodable {
  /// A call whose answers differ.
  struct Difference: Encodable {
    var time: String
    var id: UInt64
    var version: UInt64
    /// Output, or `status`.
    var place: String
    var expected: String
    var found: String
  }

  let model: String
  let against: String
  private(set) var compared = 0
  private(set) var rows = 0
  private(set) var same = 0
  private(set) var different = 0
  /// Rows with another class or label.
  private(set) var classChanges = 0
  /// Largest absolute difference of two finite numbers.
  private(set) var maxDifference = 0.0
  /// Calls left out because of redacted features.
  private(set) var redacted = 0
  /// Calls left out because they ended for a reason of that moment.
  private(set) var momentary = 0
  private(set) var first: [Difference] = []
  /// Whether the whole capture could be read.
  var isWhole = true
  private let showMax: Int

  private enum CodingKeys: String, CodingKey {
    case model, against, compared, rows, same, different, classChanges, maxDifference, redacted, momentary, first
    case isWhole
  }

  init(model: String, against: String, showMax: Int) {
    self.model = model
    self.against = against
    self.showMax = showMax
  }

  /// Counts a call that cannot be asked again.
  mutating func leavesOut(_ call: CapturedCall) -> Bool {
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

  mutating func add(_ pair: ReplayPair) {
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
        time: CapturedTime.text(pair.call.microseconds), id: pair.call.id, version: pair.call.model.version,
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
  /// - Returns: the first difference; nil: they are the same bit for bit.
  private mutating func compare(
    _ expected: OutputTensor.Values, _ found: OutputTensor.Values
  ) -> (expected: String, found: String)? {
    var first: (String, String)?
    switch (expected, found) {
    case (.floats(let x), .floats(let y)):
      guard x.count == y.count else { return ("\(x.count) numbers", "\(y.count)") }
      for index in x.indices where x[index].bitPattern != y[index].bitPattern {
        let distance = abs(Double(x[index]) - Double(y[index]))
        if distance.isFinite { maxDifference = max(maxDifference, distance) }
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

  func print() {
    let calls = BundleOutput.counted(compared, "call")
    Swift.print(
      "\(BundleOutput.plain(model)) against \(BundleOutput.plain(against)): \(calls), \(BundleOutput.counted(rows, "row"))"
    )
    if different == 0 {
      Swift.print(TerminalTable.styled("all answers are the same, bit for bit", .good))
    } else {
      let share = 100 * Double(different) / Double(max(compared, 1))
      let percent = (share * 100).rounded() / 100
      Swift.print(
        TerminalTable.styled("\(BundleOutput.grouped(different)) differ (\(percent) %)", .bad)
          + ", by \(maxDifference) at most; \(BundleOutput.counted(classChanges, "class")) changed")
    }
    if redacted > 0 { Swift.print("left out: \(BundleOutput.counted(redacted, "call")) with redacted features") }
    if momentary > 0 {
      Swift.print("left out: \(BundleOutput.counted(momentary, "call")) that ended for a reason of that moment")
    }
    if !isWhole { Swift.print(TerminalTable.styled("parts of the capture cannot be read", .bad)) }
    for difference in first {
      Swift.print(
        "  \(difference.time)  id \(difference.id)  \(BundleOutput.plain(difference.place)): expected "
          + "\(BundleOutput.plain(difference.expected)), found \(BundleOutput.plain(difference.found))")
    }
  }
}
