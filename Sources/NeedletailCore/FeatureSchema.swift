/// The columns a tabular model expects, in the order of the bound input row.
public struct FeatureSchema: Equatable, Sendable {
  public var features: [Feature]
  /// The column the model predicts, for people.
  public var target: String

  public init(features: [Feature], target: String) {
    self.features = features
    self.target = target
  }
}

/// One input column.
public struct Feature: Equatable, Sendable {
  public enum Kind: Equatable, Sendable {
    case numeric
    /// A category is bound as its index in `categories`.
    case categorical(categories: [String], unknown: UnknownPolicy)
  }

  /// What an unseen category becomes.
  public enum UnknownPolicy: UInt8, Sendable, CaseIterable {
    /// `INVALID_ARGUMENT`.
    case refuse = 0
    /// Code −1, which a one-hot turns into zeros.
    case zeros = 1
    /// The code after the last category.
    case other = 2
  }

  /// What NaN, or an empty string, becomes.
  public enum MissingPolicy: UInt8, Sendable, CaseIterable {
    /// `INVALID_ARGUMENT`.
    case refuse = 0
    /// NaN in the bound row; the graph fills it in.
    case impute = 1
  }

  public var name: String
  public var kind: Kind
  public var missing: MissingPolicy
  /// One sentence for people.
  public var summary: String

  public init(name: String, kind: Kind, missing: MissingPolicy, summary: String = "") {
    self.name = name
    self.kind = kind
    self.missing = missing
    self.summary = summary
  }
}
