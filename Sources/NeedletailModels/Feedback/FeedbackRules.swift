public import NeedletailCore
internal import NeedletailSystem
public import NeedletailYAML

/// Which predictions of a model are remembered for outcomes, and by what its figures are divided.
public struct FeedbackRule: Sendable, Equatable {
  /// A feature by whose value the figures are divided.
  public struct Group: Sendable, Equatable {
    public var feature: String
    /// Bounds of ranges of a number, ascending; empty: each category is a group.
    public var edges: [Double]

    public init(feature: String, edges: [Double] = []) {
      self.feature = feature
      self.edges = edges
    }
  }

  /// Share of the named calls that are remembered, 0 to 1, chosen by their names: every server and every version
  /// remembers the same ones.
  public var rate: Double
  /// How long an outcome may come after its prediction, and how far back the figures look.
  public var windowSeconds: Int
  public var predictionsMax: Int
  public var groups: [Group]
  /// Accuracy, or mean absolute error, that the model should have; nil: that of its training.
  public var expected: Double?

  public init(
    rate: Double = 1, windowSeconds: Int = Limits.feedbackWindowSecondsDefault,
    predictionsMax: Int = Limits.feedbackPredictionsDefault, groups: [Group] = [], expected: Double? = nil
  ) {
    self.rate = rate
    self.windowSeconds = windowSeconds
    self.predictionsMax = predictionsMax
    self.groups = groups
    self.expected = expected
  }
}

/// Rules of all models: the content of a file of rules.
///
/// ```yaml
/// models:
///   churn:
///     rate: 1                 # share of the named calls that are remembered
///     window_seconds: 86400   # how long an outcome may come, and how far back the figures look
///     predictions_max: 100000 # the oldest are forgotten
///     groups: {contract: categories, age: [30, 50]}
///     expected: 0.9           # accuracy or mean absolute error; else that of training
///   "*": {}                   # models without rules of their own
/// ```
public struct FeedbackRules: Sendable, Equatable {
  /// Name of the rule for models that have none.
  public static let others = "*"
  private static let keys = ["rate", "window_seconds", "predictions_max", "groups", "expected"]

  public private(set) var byModel: [String: FeedbackRule] = [:]

  public init(_ byModel: [String: FeedbackRule]) { self.byModel = byModel }

  /// Reads a file of rules.
  /// - Throws: the first line that is not understood. Unknown keys are refused.
  public init(path: String) throws(YAMLError) {
    let place = YAMLPlace(path)
    let text: String?
    do throws(FileReadError) {
      text = try WholeFile.text(path, bytesMax: Limits.feedbackRulesBytesMax)
    } catch {
      throw YAMLError(place, expected: "a file of rules", found: Self.fault(error))
    }
    guard let text else { throw YAMLError(place, expected: "UTF-8 text", found: "other bytes") }
    try self.init(yaml: text, file: path)
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

  private static func rule(_ node: YAMLNode) throws(YAMLError) -> FeedbackRule {
    var rule = FeedbackRule()
    for entry in try node.entries(known: keys) {
      let value = entry.value
      switch entry.word {
      case "rate": rule.rate = try number(value, 0...1)
      case "window_seconds":
        rule.windowSeconds = try count(value, 1...Limits.feedbackWindowSecondsMax)
      case "predictions_max":
        rule.predictionsMax = try count(value, 1...Limits.feedbackPredictionsMax)
      case "expected": rule.expected = try number(value, 0...1e300)
      default: rule.groups = try groups(value)
      }
    }
    return rule
  }

  private static func groups(_ node: YAMLNode) throws(YAMLError) -> [FeedbackRule.Group] {
    var groups: [FeedbackRule.Group] = []
    for entry in try node.entries() {
      guard groups.count < Limits.feedbackGroupsMax else {
        throw node.wrong(expected: "at most \(Limits.feedbackGroupsMax) features", found: "more")
      }
      groups.append(FeedbackRule.Group(feature: entry.word, edges: try edges(entry.value)))
    }
    return groups
  }

  private static func edges(_ node: YAMLNode) throws(YAMLError) -> [Double] {
    if case .scalar = node.content {
      guard try node.text() == "categories" else { throw node.wrong(expected: "categories, or a list of bounds") }
      return []
    }
    var edges: [Double] = []
    for element in try node.elements() {
      let edge = try number(element, -1e300...1e300)
      guard edges.last.map({ $0 < edge }) ?? true else { throw element.wrong(expected: "bounds that ascend") }
      edges.append(edge)
    }
    guard (1..<Limits.feedbackGroupValuesMax).contains(edges.count) else {
      throw node.wrong(
        expected: "1 to \(Limits.feedbackGroupValuesMax - 1) bounds", found: "\(edges.count)")
    }
    return edges
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

  private static func fault(_ error: FileReadError) -> String {
    switch error {
    case .missing: "none"
    case .notARegularFile: "something else"
    case .tooLong(let bytesMax): "more than \(bytesMax) bytes"
    case .system(let error): "one that cannot be read: \(error.reason)"
    }
  }

  /// The rule of a model; nil: its predictions are not remembered.
  public subscript(model: String) -> FeedbackRule? { byModel[model] ?? byModel[Self.others] }

  /// Whether a model has a rule of its own, rather than the one for all others.
  public func isOwn(_ model: String) -> Bool { byModel[model] != nil }
}
