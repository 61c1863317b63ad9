internal import NeedletailCore
internal import NeedletailEngine

/// Binding and filling of one column, learned from its training rows.
struct ColumnFit {
  /// Name, kind and policies as a client sees them.
  let feature: Feature
  /// Policy of the run file for missing values.
  let missing: RunConfiguration.MissingPolicy
  /// Number that a missing value becomes, a category's code for categorical columns. Used only where ``fills``.
  let fill: Float
  /// Schema code of each category of the table. A category without training rows has none: ``unseenCode``, or
  /// ``missingCode`` for a quoted word that means a missing value. Empty for numbers.
  let recoding: [Int32]
  /// How a category becomes numbers; `automatic` is decided, and numbers have none.
  let encoding: RunConfiguration.Encoding
  /// True where training rows lack the value.
  let hasGaps: Bool
  /// Sentence for people where the encoding was chosen for a reason they may not expect.
  private(set) var note: String?

  private static let unseenCode: Int32 = -1
  private static let missingCode: Int32 = -2

  /// - Parameters:
  ///   - rows: the training split.
  ///   - configuration: names the place of a setting in messages.
  ///   - encodesTargets: false where nothing is known of the targets, or they are too many classes for a column each.
  /// - Throws: `TrainingError` where the policy does not fit the column's values.
  init(
    _ column: Table.Column, rows: [Int], policy: RunConfiguration.FeaturePolicy, _ configuration: RunConfiguration,
    encodesTargets: Bool = false
  ) throws(TrainingError) {
    guard !column.isText else {
      // A missing text reads as an empty one, unless the run file refuses it for this very column.
      let own = configuration.document["features"]["columns"][column.name]["missing"].text
      feature = Feature(
        name: column.name, kind: .text, missing: own == "refuse" ? .refuse : .impute, summary: policy.summary)
      (self.missing, fill, recoding, encoding, hasGaps) = (.refuse, 0, [], .automatic, false)
      return
    }
    self.missing = policy.missing
    let missing = (0..<column.count).count { column.isMissing($0) }
    if policy.missing == .refuse, missing > 0 {
      throw .configuration(
        configuration.location(of: "features.columns.\(column.name).missing"),
        "column \(column.name.quotedForMessage): expected no missing values (features.missing is refuse), found \(missing); "
          + "set missing: median (or mean, most_frequent, constant)")
    }
    let present = rows.filter { !column.isMissing($0) }
    hasGaps = present.count < rows.count
    guard !present.isEmpty else {
      throw TrainingError(
        .data, "column \(column.name.quotedForMessage): expected values in the training rows, found only missing ones")
    }
    let missingPolicy: Feature.MissingPolicy = policy.missing == .refuse ? .refuse : .impute
    switch column.values {
    case .numbers(let numbers):
      let kind = column.dateOrder.map { Feature.Kind.datetime(order: $0) } ?? .numeric
      feature = Feature(name: column.name, kind: kind, missing: missingPolicy, summary: policy.summary)
      fill = Float(try Self.fill(present.map { numbers[$0] }, column, policy, configuration))
      recoding = []
      encoding = .automatic
    case .categories(let codes, let categories):
      var counts = [Int](repeating: 0, count: categories.count)
      for row in present { counts[Int(codes[row])] += 1 }
      let seenCount = counts.count { $0 > 0 }
      encoding = Self.encoding(policy, seenCount, configuration, encodesTargets: encodesTargets)
      if policy.encoding == .automatic, encoding == .target || encoding == .hash {
        note =
          "column \(column.name.quotedForMessage): \(Figures.count(seenCount)) categories, more than the "
          + "\(Figures.count(Limits.oneHotLevelsMax)) that become a column each: encoding \(encoding.rawValue)"
      }
      if encoding == .hash {
        feature = Feature(
          name: column.name, kind: .categorical(categories: [], unknown: .hash), missing: missingPolicy,
          summary: policy.summary, buckets: policy.buckets)
        let rules = configuration.request.rules
        recoding = categories.map { category in
          rules.isMissing(category)
            ? Self.missingCode : Int32(TextBuckets.bucket(of: category, among: policy.buckets))
        }
        let frequent = counts.indices.max { counts[$0] < counts[$1] } ?? 0
        fill = Float(
          policy.missing == .constant
            ? Int32(TextBuckets.bucket(of: policy.constant ?? "", among: policy.buckets)) : recoding[frequent])
        return
      }
      let seen = Self.sorted(categories.indices.filter { counts[$0] > 0 }, categories)
      let rules = configuration.request.rules
      var recoding = categories.map { rules.isMissing($0) ? Self.missingCode : Self.unseenCode }
      for (code, old) in seen.enumerated() { recoding[old] = Int32(code) }
      self.recoding = recoding
      let names = seen.map { categories[$0] }
      feature = Feature(
        name: column.name, kind: .categorical(categories: names, unknown: policy.unknown), missing: missingPolicy,
        summary: policy.summary)
      let most = seen.indices.max { counts[seen[$0]] < counts[seen[$1]] } ?? 0
      if policy.missing == .constant {
        let text = policy.constant ?? ""
        let key = ValueText.categoryKey(text)
        guard let code = names.firstIndex(where: { ValueText.categoryKey($0) == key }) else {
          throw .configuration(
            configuration.location(of: "features.columns.\(column.name).constant"),
            "features.columns.\(column.name).constant: expected a category of the training rows, found \(text.quotedForMessage)"
              + Suggestion.clause(for: text, among: names))
        }
        fill = Float(code)
      } else {
        fill = Float(most)
      }
    }
  }

  /// Value that stands in for missing ones.
  private static func fill(
    _ values: [Double], _ column: Table.Column, _ policy: RunConfiguration.FeaturePolicy,
    _ configuration: RunConfiguration
  ) throws(TrainingError) -> Double {
    switch policy.missing {
    case .refuse, .keep: return 0
    case .mean: return values.reduce(0, +) / Double(values.count)
    case .median: return Quantiles.of(values.sorted(), 0.5)
    case .mostFrequent:
      var counts: [Double: Int] = [:]
      for value in values { counts[value, default: 0] += 1 }
      // Among equally frequent values the smallest, as scikit-learn decides.
      return counts.max { ($0.value, -$0.key) < ($1.value, -$1.key) }?.key ?? 0
    case .constant:
      let text = policy.constant ?? ""
      let path = "features.columns.\(column.name).constant"
      if let order = column.dateOrder {
        guard let seconds = DateText.parse(text, order: order) else {
          throw .configuration(
            configuration.location(of: path), "\(path): expected \(order.words), found \(text.quotedForMessage)")
        }
        return seconds
      }
      guard case .number(let value) = configuration.request.rules.number(text) else {
        throw .configuration(
          configuration.location(of: path), "\(path): expected a number, found \(text.quotedForMessage)")
      }
      return value
    }
  }

  /// True where the graph replaces missing values.
  var fills: Bool { missing != .refuse && missing != .keep }

  /// The encoding that the run file leaves open.
  private static func encoding(
    _ policy: RunConfiguration.FeaturePolicy, _ categories: Int, _ configuration: RunConfiguration,
    encodesTargets: Bool
  ) -> RunConfiguration.Encoding {
    guard policy.encoding == .automatic else { return policy.encoding }
    // Families that look at one column at a time take codes as they are.
    guard configuration.family.preprocessing.categories == .oneHot else { return .automatic }
    if categories <= Limits.oneHotLevelsMax { return .oneHot }
    return encodesTargets ? .target : .hash
  }

  /// Number of codes that a category may have; 0 for numbers.
  var codeCount: Int {
    guard case .categorical(let categories, let unknown) = feature.kind else { return 0 }
    return categories.count + (unknown == .other ? 1 : 0) + feature.buckets
  }

  /// True where a value is missing, or a word that means so.
  func isMissing(_ column: Table.Column, row: Int) -> Bool {
    if column.isMissing(row) { return true }
    guard case .categories(let codes, _) = column.values else { return false }
    return recoding[Int(codes[row])] == Self.missingCode
  }

  /// Number that a cell of the table is bound as in f64, missing ones filled in where the graph does so.
  ///
  /// - Precondition: the schema accepts the cell.
  func bound(_ column: Table.Column, row: Int) -> Double {
    if column.isMissing(row) { return fills ? Double(fill) : .nan }
    switch column.values {
    case .numbers(let numbers): return numbers[row]
    case .categories(let codes, _):
      let code = recoding[Int(codes[row])]
      if code == Self.missingCode { return fills ? Double(fill) : .nan }
      guard code < 0, case .categorical(let categories, .other) = feature.kind else { return Double(code) }
      return Double(categories.count)
    }
  }

  /// True where the schema takes the cell; it may refuse a category without training rows.
  func accepts(_ column: Table.Column, row: Int) -> Bool {
    guard case .categories(let codes, _) = column.values, codes[row] >= 0,
      case .categorical(_, let unknown) = feature.kind
    else { return true }
    switch recoding[Int(codes[row])] {
    case Self.unseenCode: return unknown != .refuse
    case Self.missingCode: return feature.missing == .impute
    default: return true
    }
  }

  /// Order of categories: by value if all are numbers, else by their UTF-8 bytes, so that it is the same everywhere.
  ///
  /// - Parameters:
  ///   - indices: the categories to order.
  ///   - names: by index.
  static func sorted(_ indices: [Int], _ names: [String]) -> [Int] {
    let numbers = indices.map { NumberText.parse(names[$0]) }
    if numbers.allSatisfy({ $0 != nil }) {
      return zip(indices, numbers.map { $0 ?? 0 }).sorted { ($0.1, $0.0) < ($1.1, $1.0) }.map(\.0)
    }
    return indices.sorted { names[$0].utf8.lexicographicallyPrecedes(names[$1].utf8) }
  }
}

/// Quantiles by linear interpolation between order statistics, as NumPy's default.
enum Quantiles {
  /// - Parameters:
  ///   - sorted: ascending, not empty.
  ///   - fraction: 0…1.
  static func of(_ sorted: [Double], _ fraction: Double) -> Double {
    let position = fraction * Double(sorted.count - 1)
    let low = Int(position)
    let high = min(low + 1, sorted.count - 1)
    return sorted[low] + (position - Double(low)) * (sorted[high] - sorted[low])
  }

  /// The first value at which the weights so far reach the fraction of all: `quantile(method="inverted_cdf")` of NumPy.
  ///
  /// - Parameters:
  ///   - sorted: ascending, not empty.
  ///   - weights: one a value, above 0.
  ///   - fraction: above 0, up to 1.
  static func of(_ sorted: [Double], weights: [Double], _ fraction: Double) -> Double {
    let wanted = fraction * weights.reduce(0, +)
    var sum = 0.0
    for (value, weight) in zip(sorted, weights) {
      sum += weight
      if sum >= wanted { return value }
    }
    return sorted[sorted.count - 1]
  }
}

/// Centre and width of one numeric column over its training rows, and the scaling that follows from them:
/// (x − offset) · factor. Both numbers are f32 in a graph, also where x is f64.
struct ColumnSpread {
  /// The mean, or the minimum, rounded to f32.
  let offset: Float
  /// Number that every value equals; nil where they differ.
  private let constant: Double?
  /// Inverse of the deviation, or of the range. It is infinite where that is 0.
  private let inverse: Double

  /// What offset and factor are.
  enum Kind {
    /// Mean and deviation.
    case standardise
    /// Minimum and range.
    case minMax
    /// Median and the distance of the quartiles, which outliers do not move.
    case robust
  }

  /// - Parameter values: numbers as the engine sees them, none of them NaN; at least one.
  init(_ values: [Double], _ scaling: Kind) {
    let first = values[0]
    constant = values.allSatisfy { $0 == first } ? first : nil
    switch scaling {
    case .standardise:
      // The mean of equal values may differ from them in its last digit.
      let mean = constant ?? values.reduce(0, +) / Double(values.count)
      let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count)
      offset = Float(mean)
      inverse = 1 / variance.squareRoot()
    case .minMax:
      let low = values.reduce(first, min)
      offset = Float(low)
      inverse = 1 / (values.reduce(first, max) - low)
    case .robust:
      let sorted = values.sorted()
      offset = Float(Quantiles.of(sorted, 0.5))
      let range = Quantiles.of(sorted, 0.75) - Quantiles.of(sorted, 0.25)
      // Where more than half of the rows are equal the others keep their distance, as scikit-learn's `RobustScaler`
      // leaves it.
      inverse = range > 0 ? 1 / range : constant == nil ? 1 : .infinity
    }
  }

  /// True for a column that varies by so little that f32 cannot hold the factor: less than 1 / 3.4e38.
  var isBelowF32: Bool { constant == nil && !Float(inverse).isFinite }

  /// Factor of the column, finite and not 0.
  ///
  /// A column that never changed in training becomes 0 throughout: (v − v) · 1. In f64 the constant v need not be an
  /// f32, and v − offset is up to half a rounding step of f32, 64 for the seconds since 1970. A factor of at most 2⁻⁴⁰
  /// leaves no more than 1e-12 of that. It also rounds a column below f32 to 0 exactly, whatever its outliers. A
  /// smaller factor would itself be 0 in f32 for constants near 3.4e38, where half a step is 2¹⁰³.
  var factor: Float {
    guard constant != nil || isBelowF32 else { return Float(inverse) }
    let residual = constant.map { abs($0 - Double(offset)) } ?? 1
    return residual == 0 ? 1 : Float(0x1p-40 / max(1, residual))
  }

  /// True where rounding to f32 may move a value by more than a ten-thousandth of the column's deviation, as it does
  /// to the seconds of a day in this century. A column that counts as constant has no digits to lose.
  static func losesDigits(_ values: [Double]) -> Bool {
    let spread = ColumnSpread(values, .standardise)
    guard spread.constant == nil, !spread.isBelowF32 else { return false }
    let roundingMax = values.reduce(0) { max($0, abs($1 - Double(Float($1)))) }
    return roundingMax * spread.inverse > 1e-4
  }
}
