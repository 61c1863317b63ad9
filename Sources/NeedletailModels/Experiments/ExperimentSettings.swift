public import NeedletailCore
internal import NeedletailYAML

/// What an experiment of a rollout file compares, and when it ends.
public struct ExperimentSettings: Sendable, Equatable, Codable {
  /// What is compared of each outcome.
  public enum Metric: String, Sendable, Codable, CaseIterable {
    /// Whether the class was right.
    case accuracy
    /// Distance of the answer and the outcome.
    case absoluteError = "absolute_error"
    /// The outcome itself: a number, or whether it is the class ``ExperimentSettings/success``.
    case outcome
  }

  /// Which values of the metric are better.
  public enum Goal: String, Sendable, Codable, CaseIterable {
    case higher, lower
  }

  public var metric: Metric
  /// The class that counts as a success, with ``Metric/outcome``; nil: outcomes are numbers.
  public var success: String?
  public var goal: Goal
  /// Probability with which the experiment may end with a wrong decision.
  public var error: Double
  /// Difference of the metric that makes a challenger better.
  public var minimumEffect: Double
  /// Whether the server writes the decision into the rollout file.
  public var promotes: Bool
  /// Outcomes of all arms after which the experiment ends undecided.
  public var outcomesMax: Int

  public static let errorDefault = 0.05

  public init(
    metric: Metric, success: String? = nil, goal: Goal? = nil, error: Double = errorDefault, minimumEffect: Double = 0,
    promotes: Bool = false, outcomesMax: Int = Limits.experimentOutcomesDefault
  ) {
    self.metric = metric
    self.success = success
    self.goal = goal ?? Self.goal(of: metric)
    self.error = error
    self.minimumEffect = minimumEffect
    self.promotes = promotes
    self.outcomesMax = outcomesMax
  }

  static func goal(of metric: Metric) -> Goal { metric == .absoluteError ? .lower : .higher }

  /// Whether each outcome is a success or a failure.
  public var isRate: Bool { metric == .accuracy || success != nil }

  // MARK: text

  static let keys = ["metric", "success", "goal", "error", "minimum_effect", "promote", "outcomes_max"]

  /// Reads the key `experiment` of a rollout file.
  init(_ node: YAMLNode) throws(YAMLError) {
    let entries = try node.entries(known: Self.keys)
    guard let metric = entries.first(where: { $0.word == "metric" })?.value else {
      throw node.wrong(expected: "a metric", found: "none")
    }
    self.init(metric: try metric.choice())
    for entry in entries {
      let value = entry.value
      switch entry.word {
      case "success": success = try Self.label(value)
      case "goal": goal = try value.choice()
      case "error": error = try Self.number(value, 0.000_001...0.5)
      case "minimum_effect": minimumEffect = try Self.number(value, 0...1e300)
      case "promote": promotes = try Self.flag(value)
      case "outcomes_max": outcomesMax = try Self.count(value, 2...Limits.experimentOutcomesMax)
      default: break
      }
    }
    if self.metric != .outcome, let entry = entries.first(where: { $0.word == "success" }) {
      throw entry.key.wrong(expected: "no success beside metric: \(self.metric.rawValue)", found: "one")
    }
    if isRate, minimumEffect >= 1, let entry = entries.first(where: { $0.word == "minimum_effect" }) {
      throw entry.value.wrong(expected: "a difference of two rates, below 1")
    }
  }

  private static func label(_ node: YAMLNode) throws(YAMLError) -> String {
    let text = try node.text()
    guard (1...Limits.feedbackLabelBytesMax).contains(text.utf8.count) else {
      throw node.wrong(expected: "a class of 1 to \(Limits.feedbackLabelBytesMax) bytes", found: "\(text.utf8.count)")
    }
    guard text.unicodeScalars.allSatisfy({ $0.value >= 32 }) else {
      throw node.wrong(expected: "a class without control characters")
    }
    return text
  }

  private static func flag(_ node: YAMLNode) throws(YAMLError) -> Bool {
    switch try node.text() {
    case "true": return true
    case "false": return false
    default: throw node.wrong(expected: "true or false")
    }
  }

  private static func number(_ node: YAMLNode, _ range: ClosedRange<Double>) throws(YAMLError) -> Double {
    guard let value = NumberText.parse(try node.text()), range.contains(value) else {
      throw node.wrong(expected: "a number from \(range.lowerBound) to \(range.upperBound)")
    }
    return value
  }

  private static func count(_ node: YAMLNode, _ range: ClosedRange<Int>) throws(YAMLError) -> Int {
    guard let value = Int(try node.text()), range.contains(value) else {
      throw node.wrong(expected: "a whole number from \(range.lowerBound) to \(range.upperBound)")
    }
    return value
  }

  /// The value of the key `experiment`, as a rollout file has it.
  var yaml: String {
    var parts = ["metric: \(metric.rawValue)"]
    if let success { parts.append("success: \(Self.quoted(success))") }
    if goal != Self.goal(of: metric) { parts.append("goal: \(goal.rawValue)") }
    parts.append("error: \(error)")
    if minimumEffect > 0 { parts.append("minimum_effect: \(minimumEffect)") }
    if promotes { parts.append("promote: true") }
    parts.append("outcomes_max: \(outcomesMax)")
    return "{\(parts.joined(separator: ", "))}"
  }

  /// A text in quotes of YAML.
  private static func quoted(_ text: String) -> String { "'\(text.replacing("'", with: "''"))'" }
}
