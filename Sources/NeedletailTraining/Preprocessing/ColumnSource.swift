internal import NeedletailCore
internal import NeedletailEngine

/// What one column of the preprocessed row holds before categories become indicators: a feature, or a part of one that
/// is a date.
struct ColumnSource: Sendable {
  /// Index of the feature in the schema.
  let feature: Int
  let fit: ColumnFit
  let part: DatePart?

  /// Name for people and in settings: that of the feature, or `ordered.weekday`.
  var name: String { part.map { "\(fit.feature.name).\($0.name)" } ?? fit.feature.name }

  /// False for the code of a category.
  var isNumber: Bool { part != nil || fit.feature.kind == .numeric }

  /// The column's number in f64, NaN for a gap that the graph keeps.
  func value(_ column: Table.Column, row: Int) -> Double {
    let bound = fit.bound(column, row: row)
    return part.map { $0.value(of: bound) } ?? bound
  }

  /// The column's numbers: gaps filled, kept gaps left out.
  func numbers(_ table: Table, _ rows: [Int]) -> [Double] {
    let column = table.columns[feature]
    return rows.map { value(column, row: $0) }.filter { !$0.isNaN }
  }

  /// The feature as a family that looks at single columns sees it.
  var asFeature: Feature {
    guard part != nil else { return fit.feature }
    var feature = fit.feature
    feature.name = name
    feature.kind = .numeric
    return feature
  }

  /// Columns of all features.
  ///
  /// - Parameter rows: the training split.
  static func all(
    _ table: Table, rows: [Int], fits: [ColumnFit], _ configuration: RunConfiguration
  ) -> [ColumnSource] {
    let isScaled = configuration.family.preprocessing.numbers == .scaled
    return fits.enumerated().flatMap { index, fit -> [ColumnSource] in
      guard fit.feature.kind.isDatetime else { return [ColumnSource(feature: index, fit: fit, part: nil)] }
      var parts = configuration.policy(for: fit.feature.name).parts
      if parts.isEmpty {
        let moments = ColumnSource(feature: index, fit: fit, part: .elapsed).numbers(table, rows)
        parts = isScaled ? cycles(moments) : calendar(moments)
      }
      return parts.map { ColumnSource(feature: index, fit: fit, part: $0) }
    }
  }

  /// Parts for families that add columns up: the time that has passed, and each cycle that the rows go through once.
  private static func cycles(_ moments: [Double]) -> [DatePart] {
    let span = (moments.max() ?? 0) - (moments.min() ?? 0)
    var parts: [DatePart] = [.elapsed]
    if span >= 365 * 86_400 { parts += [.yearSin, .yearCos] }
    if span >= 7 * 86_400 { parts += [.weekSin, .weekCos] }
    // Times without a date go through a day.
    if varies(moments, .hour) || varies(moments, .minute) { parts += [.daySin, .dayCos] }
    return parts
  }

  /// Parts for families that look at one column at a time: what the calendar says, as far as it varies.
  private static func calendar(_ moments: [Double]) -> [DatePart] {
    [.elapsed]
      + [.year, .month, .day, .weekday, .dayOfYear, .hour, .minute].filter { varies(moments, $0) }
  }

  private static func varies(_ moments: [Double], _ part: DatePart) -> Bool {
    guard let first = moments.first.map({ part.value(of: $0) }) else { return false }
    return moments.contains { part.value(of: $0) != first }
  }
}

extension [ColumnSource] {
  /// Importance of features from that of columns: a date's is the sum of its parts'.
  ///
  /// - Parameters:
  ///   - columns: one for each source; any other number is left as it is.
  ///   - features: of the schema.
  func importance(of features: [Feature], from columns: [FeatureImportance]) -> [FeatureImportance] {
    guard columns.count == count, count != features.count else { return columns }
    var sums = features.map { FeatureImportance(name: $0.name, gainShare: 0, splits: 0) }
    for (source, column) in zip(self, columns) {
      sums[source.feature].gainShare += column.gainShare
      sums[source.feature].splits += column.splits
    }
    return sums
  }
}

extension Affine {
  /// A scaling that changes nothing but the element type.
  static func identity(columns: Int) -> Affine {
    let zeros = [Float](repeating: 0, count: columns)
    return Affine(scaling: .standardise, offset: zeros, scale: zeros.map { _ in 1 })
  }
}
