public import NeedletailCore
internal import NeedletailEngine

/// Features of a version by whose values its figures are divided.
public struct FeedbackGroups: Sendable, Equatable {
  /// One feature and its groups.
  struct Feature: Sendable, Equatable {
    var name: String
    /// Column of the bound row.
    var column: Int
    /// Bounds of ranges; empty: a value is the index of a category.
    var edges: [Double]
    /// Names of the groups; the last two are `other`, of categories without a group of their own, and `missing`.
    var groups: [String]

    func group(of value: Float) -> Int {
      guard !value.isNaN else { return groups.count - 1 }
      if edges.isEmpty {
        let own = groups.count - 2
        return value >= 0 && value < Float(own) ? Int(value) : own
      }
      return edges.firstIndex { Double(value) < $0 } ?? edges.count
    }
  }

  let features: [Feature]

  /// Number of features.
  public var count: Int { features.count }
  /// Columns of the bound row that they stand in.
  public var columns: [Int] { features.map(\.column) }
  /// Every group with the name of its feature, in the order of ``indices(of:)``.
  public var names: [(feature: String, group: String)] {
    features.flatMap { feature in feature.groups.map { (feature.name, $0) } }
  }

  static let other = "other"
  static let missing = "missing"

  public static let none = FeedbackGroups(features: [])

  init(features: [Feature]) { self.features = features }

  /// - Throws: a feature that the model does not have, or one whose kind does not fit the rule.
  public init(_ rule: [FeedbackRule.Group], _ schema: FeatureSchema) throws(FeedbackFault) {
    var features: [Feature] = []
    for group in rule {
      let wanted = ValueText.normalised(group.feature)
      guard let column = schema.features.firstIndex(where: { ValueText.normalised($0.name) == wanted }) else {
        throw FeedbackFault(message: "groups: expected features of the model, found \(group.feature.quotedForMessage)")
      }
      switch schema.features[column].kind {
      case .categorical(let categories, _) where group.edges.isEmpty:
        let own = categories.prefix(Limits.feedbackGroupValuesMax)
        features.append(
          Feature(name: group.feature, column: column, edges: [], groups: Array(own) + [Self.other, Self.missing]))
      case .numeric where !group.edges.isEmpty, .datetime where !group.edges.isEmpty:
        features.append(
          Feature(
            name: group.feature, column: column, edges: group.edges,
            groups: Self.ranges(group.edges) + [Self.missing]))
      case .categorical, .numeric, .datetime, .text:
        throw FeedbackFault(
          message: "groups: \(group.feature.quotedForMessage): expected categories of a categorical feature, or bounds "
            + "of a number, found another")
      }
    }
    self.features = features
  }

  private static func ranges(_ edges: [Double]) -> [String] {
    func text(_ edge: Double) -> String { edge == edge.rounded() && abs(edge) < 1e15 ? "\(Int64(edge))" : "\(edge)" }
    var names = ["below \(text(edges[0]))"]
    for index in edges.indices.dropLast() { names.append("\(text(edges[index])) to \(text(edges[index + 1]))") }
    names.append("from \(text(edges[edges.count - 1]))")
    return names
  }

  /// Places in ``names`` of the groups that a row belongs to, one for each feature.
  /// - Parameter values: its value of each feature.
  func indices(of values: ArraySlice<Float>) -> [Int] {
    var first = 0
    return zip(features, values).map { feature, value in
      defer { first += feature.groups.count }
      return first + feature.group(of: value)
    }
  }
}

/// Why a rule about feedback cannot be used, in one sentence.
public struct FeedbackFault: Error, Equatable {
  public let message: String
}
