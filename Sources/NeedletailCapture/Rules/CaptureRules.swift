internal import NeedletailCore
internal import NeedletailSystem
public import NeedletailYAML

/// Which calls of a model are captured, and what of them.
public struct CaptureRule: Sendable, Equatable {
  /// Share of calls that is drawn, from 0 to 1.
  public var rate: Double
  /// Whether calls that end in an error are captured, if their tensors were read.
  public var errors: Bool
  /// Calls with a row whose largest probability is below this are captured; nil: none for that reason.
  public var confidenceBelow: Double?
  /// Calls that took so long, from their arrival to the end of their batch or to their error, are captured; nil: none for
  /// that reason.
  public var slowMicroseconds: UInt32?
  public var redacted: [CapturedModel.Redacted]

  public init(
    rate: Double = 0, errors: Bool = false, confidenceBelow: Double? = nil, slowMicroseconds: UInt32? = nil,
    redacted: [CapturedModel.Redacted] = []
  ) {
    self.rate = rate
    self.errors = errors
    self.confidenceBelow = confidenceBelow
    self.slowMicroseconds = slowMicroseconds
    self.redacted = redacted
  }

  /// Whether no call can meet the rule.
  public var isEmpty: Bool { rate == 0 && !errors && confidenceBelow == nil && slowMicroseconds == nil }

  /// Whether it shows only with the answer if a call is captured.
  public var needsAnswer: Bool { errors || confidenceBelow != nil || slowMicroseconds != nil }
}

/// Rules of all models: the content of a file of rules.
///
/// ```yaml
/// models:
///   churn:
///     rate: 0.01             # one call in a hundred, drawn
///     errors: true           # calls that end in an error after their tensors were read
///     confidence_below: 0.6  # calls with a row whose largest probability is lower
///     slow_milliseconds: 20  # calls that took longer, from arrival to answer or error
///     redact: {name: drop, email: hash}
///   "*": {rate: 0.001}       # models without rules of their own
/// ```
public struct CaptureRules: Sendable, Equatable {
  /// Name of the rule for models that have none.
  public static let others = "*"
  private static let keys = ["rate", "errors", "confidence_below", "slow_milliseconds", "redact"]

  public private(set) var byModel: [String: CaptureRule] = [:]

  public init(_ byModel: [String: CaptureRule]) { self.byModel = byModel }

  /// Reads a file of rules.
  /// - Throws: `.rules` with the first line that is not understood. Unknown keys are refused: a mistyped redaction must
  ///   not mean that there is none.
  public init(path: String) throws(CaptureError) {
    let text: String?
    do throws(FileReadError) {
      text = try WholeFile.text(path, bytesMax: Limits.captureRulesBytesMax)
    } catch {
      throw CaptureError(.rules, "\(path): \(CaptureFile.reason(error))")
    }
    guard let text else { throw CaptureError(.rules, "\(path): expected UTF-8 text, found other bytes") }
    do throws(YAMLError) {
      try self.init(yaml: text, file: path)
    } catch {
      throw CaptureError(.rules, error.description)
    }
  }

  public init(yaml text: String, file: String) throws(YAMLError) {
    let root = try YAMLNode.parse(text, file: file)
    let entries = try root.entries(known: ["models"])
    guard let models = entries.first?.value else { throw root.wrong(expected: "models", found: "none") }
    for entry in try models.entries() {
      guard !entry.word.isEmpty else { throw entry.key.wrong(expected: "the name of a model") }
      byModel[entry.word] = try Self.rule(entry.value)
    }
    guard !byModel.isEmpty else { throw models.wrong(expected: "at least one model", found: "none") }
  }

  private static func rule(_ node: YAMLNode) throws(YAMLError) -> CaptureRule {
    var rule = CaptureRule()
    for entry in try node.entries(known: keys) {
      let value = entry.value
      switch entry.word {
      case "rate": rule.rate = try number(value, 0...1)
      case "errors": rule.errors = try flag(value)
      case "confidence_below": rule.confidenceBelow = try number(value, 0...1)
      case "slow_milliseconds": rule.slowMicroseconds = UInt32(try number(value, 0...3_600_000) * 1000)
      default:
        for feature in try value.entries() {
          guard let redaction = redaction(try feature.value.text()) else {
            throw feature.value.wrong(among: ["drop", "hash"])
          }
          rule.redacted.append(CapturedModel.Redacted(feature: feature.word, redaction: redaction))
        }
      }
    }
    guard !rule.isEmpty else {
      throw node.wrong(expected: "rate, errors, confidence_below or slow_milliseconds", found: "none")
    }
    return rule
  }

  private static func redaction(_ word: String) -> Redaction? {
    switch word {
    case "drop": .drop
    case "hash": .hash
    default: nil
    }
  }

  private static func number(_ node: YAMLNode, _ range: ClosedRange<Double>) throws(YAMLError) -> Double {
    guard let value = NumberText.parse(try node.text()), range.contains(value) else {
      throw node.wrong(expected: "a number from \(Int(range.lowerBound)) to \(Int(range.upperBound))")
    }
    return value
  }

  private static func flag(_ node: YAMLNode) throws(YAMLError) -> Bool {
    switch try node.text() {
    case "true": return true
    case "false": return false
    default: throw node.wrong(expected: "true or false")
    }
  }

  /// The rule of a model; nil: its calls are not captured.
  public subscript(model: String) -> CaptureRule? { byModel[model] ?? byModel[Self.others] }

  /// Whether a model has a rule of its own, rather than the one for all others.
  public func isOwn(_ model: String) -> Bool { byModel[model] != nil }

  /// Whether values are hashed, which takes a key.
  public var needsKey: Bool { byModel.values.contains { $0.redacted.contains { $0.redaction == .hash } } }
}

/// Key that redacted values are hashed with.
public enum CaptureKey {
  /// Reads the key: all bytes of a file but a newline at its end.
  /// - Throws: `.rules` for a file that cannot be read, or a key that is too short or too long.
  public static func read(path: String) throws(CaptureError) -> [UInt8] {
    var bytes: [UInt8]
    do throws(FileReadError) {
      bytes = try WholeFile.read(path, bytesMax: Limits.captureKeyBytes.upperBound + 1)
    } catch {
      throw CaptureError(.rules, "\(path): \(CaptureFile.reason(error))")
    }
    if bytes.last == UInt8(ascii: "\n") { bytes.removeLast() }
    guard Limits.captureKeyBytes.contains(bytes.count) else {
      throw CaptureError(
        .rules,
        "\(path): expected a key of \(Limits.captureKeyBytes.lowerBound) to \(Limits.captureKeyBytes.upperBound) bytes, "
          + "found \(bytes.count)")
    }
    return bytes
  }
}

/// Faults of files in words.
enum CaptureFile {
  static func reason(_ error: FileReadError) -> String {
    switch error {
    case .missing: "expected a file, found none"
    case .notARegularFile: "expected a regular file, found something else"
    case .tooLong(let bytesMax): "expected at most \(bytesMax) bytes, found more"
    case .system(let error): "cannot be read: \(error.reason)"
    }
  }
}
