/// The element type of a tensor. Raw values are those of `needletail.v1.DataType`.
public enum DataType: UInt8, Sendable, BitwiseCopyable, CaseIterable, CustomStringConvertible {
  case float32 = 1
  case float64 = 2
  case int8 = 3
  case int16 = 4
  case int32 = 5
  case int64 = 6
  case uint8 = 7
  case bool = 8
  case string = 9

  /// Bytes of one element in `Tensor.data`; 0 for strings, which stand beside it.
  @inlinable public var elementBytes: Int {
    switch self {
    case .float32, .int32: 4
    case .float64, .int64: 8
    case .int16: 2
    case .int8, .uint8, .bool: 1
    case .string: 0
    }
  }

  public var description: String {
    switch self {
    case .float32: "FLOAT32"
    case .float64: "FLOAT64"
    case .int8: "INT8"
    case .int16: "INT16"
    case .int32: "INT32"
    case .int64: "INT64"
    case .uint8: "UINT8"
    case .bool: "BOOL"
    case .string: "STRING"
    }
  }
}

/// Meaning of an output of a model, and so the way in which an answer carries it. Raw values are those of
/// `needletail.v1.OutputKind`.
public enum OutputKind: UInt8, Sendable, BitwiseCopyable, CaseIterable {
  /// fp32, `[rows, columns]`, or `[rows]` for one column.
  case number = 0
  /// int64, `[rows]`; the value has one column that holds an index.
  case classIndex = 1
  /// string, `[rows]`: the label map applied to a class index.
  case classLabel = 2
}

/// The columns that a model expects, in the order of the bound input row.
public struct FeatureSchema: Equatable, Sendable {
  public var features: [Feature]
  /// The column the model predicts, for people.
  public var target: String
  /// How text is read; nil for models of before format 1.2: `proto/README.md`, [V15].
  public var rules: ValueRules?

  public init(features: [Feature], target: String, rules: ValueRules? = nil) {
    self.features = features
    self.target = target
    self.rules = rules
  }
}

/// One input column.
public struct Feature: Equatable, Sendable {
  public enum Kind: Equatable, Sendable {
    case numeric
    /// A category is bound as its index in `categories`.
    case categorical(categories: [String], unknown: UnknownPolicy)
    /// A date, a time, or both: seconds since 1970-01-01 00:00 UTC, in a row of f64. Text is read by ``DateText``.
    case datetime(order: DateOrder)
    /// Free text in UTF-8, which counts as it is. Its column in the bound row is its length in bytes.
    case text

    public var isDatetime: Bool { if case .datetime = self { true } else { false } }
  }

  /// Fate of an unseen category.
  public enum UnknownPolicy: UInt8, Sendable, CaseIterable {
    /// `INVALID_ARGUMENT`.
    case refuse = 0
    /// Code −1, which a one-hot turns into zeros.
    case zeros = 1
    /// The code after the last category.
    case other = 2
    /// One of ``Feature/buckets`` codes behind the last category, by the hash of its text: `proto/README.md`, [V20].
    case hash = 3
  }

  /// Fate of NaN, or of an empty string.
  public enum MissingPolicy: UInt8, Sendable, CaseIterable {
    /// `INVALID_ARGUMENT`.
    case refuse = 0
    /// NaN in the bound row; the graph fills it in. A missing text reads as an empty one.
    case impute = 1
  }

  public var name: String
  public var kind: Kind
  public var missing: MissingPolicy
  /// One sentence for people.
  public var summary: String
  /// Number of codes for texts that are no categories, where the policy for them is `hash`; else 0.
  public var buckets: Int

  public init(name: String, kind: Kind, missing: MissingPolicy, summary: String = "", buckets: Int = 0) {
    self.name = name
    self.kind = kind
    self.missing = missing
    self.summary = summary
    self.buckets = buckets
  }

  /// True where categories may be texts that the schema does not list.
  public var isHashed: Bool { if case .categorical(_, .hash) = kind { true } else { false } }

  /// Contradiction between buckets and the policy for unknown categories: what was expected and found; nil: none.
  public var bucketFault: String? {
    let expected = isHashed ? 1...Limits.bucketsMax : 0...0
    guard !expected.contains(buckets) else { return nil }
    return "expected \(expected.lowerBound) to \(expected.upperBound) buckets, found \(buckets)"
  }
}

extension FeatureSchema {
  /// Number of features that are free text.
  public var textCount: Int { features.count { $0.kind == .text } }

  /// The contradiction to the schema's own rules for text: names, categories or missing words that the rules would read
  /// as another text, or as one another.
  ///
  /// - Returns: one sentence; nil where all is well, or the schema has no rules.
  public var ruleFault: String? {
    guard let rules else { return nil }
    guard rules.missing.count <= Limits.missingWordsMax else {
      return "missing words: expected at most \(Limits.missingWordsMax), found \(rules.missing.count)"
    }
    if let fault = rules.numbers.fault { return "numbers: \(fault)" }
    for word in rules.missing where word.isEmpty || !Self.isNormalised(word) {
      return
        "missing word \(word.quotedForMessage): expected text in the form NFC without spaces around it, found other"
    }
    for feature in features {
      let place = "feature \(feature.name.quotedForMessage)"
      guard Self.isNormalised(feature.name) else {
        return "\(place): expected a name in the form NFC without spaces around it, found another"
      }
      guard case .categorical(let categories, _) = feature.kind else { continue }
      var keys: Set<[UInt8]> = []
      for category in categories {
        let found = "category \(category.quotedForMessage)"
        guard Self.isNormalised(category) else {
          return "\(place): \(found): expected text in the form NFC without spaces around it, found other"
        }
        guard keys.insert(ValueText.categoryKey(category)).inserted else {
          return "\(place): \(found): expected categories that read differently, found another that reads as this one"
        }
      }
    }
    return nil
  }

  /// True where a reader before format 1.2 would not refuse what the rules read otherwise, but answer for another
  /// value: an unknown category that it accepts.
  public var rulesChangeAnswers: Bool {
    rules != nil
      && features.contains { feature in
        if case .categorical(_, let unknown) = feature.kind { unknown != .refuse } else { false }
      }
  }

  private static func isNormalised(_ text: String) -> Bool {
    ValueText.normalised(text).utf8.elementsEqual(text.utf8)
  }
}
