internal import NeedletailCore

/// What one column's training rows say about how to bind and fill it.
struct ColumnFit {
  let feature: Feature
  /// For missing values; a category's code for categorical columns.
  let fill: Float
  /// Indicator columns; 0 for numbers.
  let width: Int
  /// Table code → schema code, −1 for a category without training rows.
  let recoding: [Int32]

  init(
    _ column: Table.Column, rows: [Int], policy: RunConfiguration.FeaturePolicy, _ configuration: RunConfiguration
  ) throws(TrainingError) {
    let missing = (0..<column.count).count { column.isMissing($0) }
    if policy.missing == .refuse, missing > 0 {
      throw .configuration(
        configuration.location(of: "features.columns.\(column.name).missing"),
        "column \(column.name.quotedForMessage): expected no missing values (features.missing is refuse), found \(missing); "
          + "set missing: median (or mean, most_frequent, constant)")
    }
    let present = rows.filter { !column.isMissing($0) }
    guard !present.isEmpty else {
      throw TrainingError(
        .data, "column \(column.name.quotedForMessage): expected values in the training rows, found only missing ones")
    }
    let missingPolicy: Feature.MissingPolicy = policy.missing == .refuse ? .refuse : .impute
    switch column.values {
    case .numbers(let numbers):
      feature = Feature(name: column.name, kind: .numeric, missing: missingPolicy, summary: policy.summary)
      fill = Float(try Self.fill(present.map { numbers[$0] }, column.name, policy, configuration))
      width = 0
      recoding = []
    case .categories(let codes, let categories):
      var counts = [Int](repeating: 0, count: categories.count)
      for row in present { counts[Int(codes[row])] += 1 }
      let seen = Self.sorted(categories.indices.filter { counts[$0] > 0 }, categories)
      var recoding = [Int32](repeating: -1, count: categories.count)
      for (code, old) in seen.enumerated() { recoding[old] = Int32(code) }
      self.recoding = recoding
      let names = seen.map { categories[$0] }
      feature = Feature(
        name: column.name, kind: .categorical(categories: names, unknown: policy.unknown), missing: missingPolicy,
        summary: policy.summary)
      width = names.count + (policy.unknown == .other ? 1 : 0)
      let most = seen.indices.max { counts[seen[$0]] < counts[seen[$1]] } ?? 0
      if policy.missing == .constant {
        let text = policy.constant ?? ""
        guard let code = names.firstIndex(of: text) else {
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

  private static func fill(
    _ values: [Double], _ name: String, _ policy: RunConfiguration.FeaturePolicy, _ configuration: RunConfiguration
  ) throws(TrainingError) -> Double {
    switch policy.missing {
    case .refuse: return 0
    case .mean: return values.reduce(0, +) / Double(values.count)
    case .median: return Quantiles.of(values.sorted(), 0.5)
    case .mostFrequent:
      var counts: [Double: Int] = [:]
      for value in values { counts[value, default: 0] += 1 }
      // The smallest of the most frequent, as scikit-learn decides.
      return counts.max { ($0.value, -$0.key) < ($1.value, -$1.key) }?.key ?? 0
    case .constant:
      let text = policy.constant ?? ""
      guard let value = Double(text), value.isFinite, abs(value) <= Double(Float.greatestFiniteMagnitude) else {
        throw .configuration(
          configuration.location(of: "features.columns.\(name).constant"),
          "features.columns.\(name).constant: expected a number, found \(text.quotedForMessage)")
      }
      return value
    }
  }

  /// By value if all are numbers, else by their UTF-8 bytes: the same on every machine.
  static func sorted(_ indices: [Int], _ names: [String]) -> [Int] {
    let numbers = indices.map { Double(names[$0]) }
    if numbers.allSatisfy({ $0 != nil && $0?.isNaN == false }) {
      return zip(indices, numbers.map { $0 ?? 0 }).sorted { ($0.1, $0.0) < ($1.1, $1.0) }.map(\.0)
    }
    return indices.sorted { names[$0].utf8.lexicographicallyPrecedes(names[$1].utf8) }
  }
}
