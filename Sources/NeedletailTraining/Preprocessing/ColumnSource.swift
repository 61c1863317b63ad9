internal import NeedletailCore
internal import NeedletailEngine

/// One column of the preprocessed row before scaling, and before categories become indicators.
struct ColumnSource: Sendable {
  /// A bound feature, or a part of one that is a date.
  struct Operand: Sendable {
    /// Index of the feature in the schema.
    let feature: Int
    let fit: ColumnFit
    let part: DatePart?

    /// Name for people and in settings: that of the feature, or `ordered.weekday`.
    var name: String { part.map { "\(fit.feature.name).\($0.name)" } ?? fit.feature.name }
    /// False for the code of a category.
    var isNumber: Bool { part != nil || fit.feature.kind == .numeric }

    /// The column's number in f64, NaN for a gap that the graph keeps.
    func value(_ table: Table, row: Int) -> Double {
      let bound = fit.bound(table.columns[feature], row: row)
      return part.map { $0.value(of: bound) } ?? bound
    }
  }

  enum Kind: Sendable {
    case plain(Operand)
    /// 1 where the value was missing.
    case flag(Operand)
    case product([Operand])
    /// Bucket of several categories.
    case cross([Operand], buckets: Int)
    /// One of the numbers that an encoder writes for a category.
    case encoded(Operand, CategoryEncoder, place: Int)
  }

  /// What becomes of the column.
  enum Form: Sendable {
    case number
    /// One column of 0 and 1 for each of so many codes.
    case indicators(Int)
    /// The code as it is, one of so many.
    case code(Int)
  }

  let kind: Kind
  let form: Form
  /// Treatment of numbers.
  var scaling = NumberScaling.none

  /// Features behind the column.
  var features: [Int] { operands.map(\.feature) }

  private var operands: [Operand] {
    switch kind {
    case .plain(let operand), .flag(let operand), .encoded(let operand, _, _): [operand]
    case .product(let operands), .cross(let operands, _): operands
    }
  }

  /// Name for people and in settings.
  var name: String {
    switch kind {
    case .plain(let operand): operand.name
    case .flag(let operand): "\(operand.name).missing"
    case .product(let operands), .cross(let operands, _): operands.map(\.name).joined(separator: "*")
    case .encoded(let operand, let encoder, let place):
      encoder.width == 1 ? operand.name : "\(operand.name).\(place)"
    }
  }

  /// False for the code of a category.
  var isNumber: Bool { if case .number = form { true } else { false } }

  /// Indicator columns; 0 for one that passes through.
  var indicatorCount: Int { if case .indicators(let count) = form { count } else { 0 } }

  /// The column's number, as the graph computes it before scaling.
  ///
  /// - Parameters:
  ///   - isOutOfFold: true encodes a training row without itself.
  ///   - rounds: true where the graph computes in f32.
  func value(_ table: Table, row: Int, isOutOfFold: Bool, rounds: Bool = false) -> Double {
    func seen(_ number: Double) -> Double { rounds ? Double(Float(number)) : number }
    switch kind {
    case .plain(let operand): return seen(operand.value(table, row: row))
    case .flag(let operand): return operand.fit.isMissing(table.columns[operand.feature], row: row) ? 1 : 0
    case .product(let operands): return seen(operands.reduce(1) { $0 * seen($1.value(table, row: row)) })
    case .cross(let operands, let buckets):
      return Double(DerivedColumns.bucket(of: operands.map { $0.value(table, row: row) }, among: buckets))
    case .encoded(let operand, let encoder, let place):
      let fold = isOutOfFold && !encoder.foldOfRow.isEmpty ? Int(encoder.foldOfRow[row]) : -1
      return encoder.value(code: operand.value(table, row: row), place: place, fold: fold < 0 ? nil : fold)
    }
  }

  /// The column's numbers in training rows: gaps filled, kept gaps left out.
  func numbers(_ table: Table, _ rows: [Int]) -> [Double] {
    rows.map { value(table, row: $0, isOutOfFold: true) }.filter { !$0.isNaN }
  }

  /// The feature as a family that looks at single columns sees it.
  var asFeature: Feature {
    var feature = operands[0].fit.feature
    if case .plain(let operand) = kind, operand.part == nil, case .code = form, !feature.isHashed { return feature }
    if case .plain(let operand) = kind, operand.part == nil, feature.kind == .numeric { return feature }
    feature.name = name
    feature.buckets = 0
    switch form {
    case .number: feature.kind = .numeric
    case .code(let count), .indicators(let count):
      feature.kind = .categorical(categories: (0..<count).map { "#\($0)" }, unknown: .zeros)
    }
    return feature
  }

  // MARK: - choice of columns

  /// Features, dates in parts.
  ///
  /// - Parameter rows: the training split.
  static func operands(
    _ table: Table, rows: [Int], fits: [ColumnFit], _ configuration: RunConfiguration
  ) -> [Operand] {
    let isScaled = configuration.family.preprocessing.numbers == .scaled
    return fits.enumerated().flatMap { index, fit -> [Operand] in
      guard fit.feature.kind != .text else { return [] }
      guard fit.feature.kind.isDatetime else { return [Operand(feature: index, fit: fit, part: nil)] }
      var parts = configuration.policy(for: fit.feature.name).parts
      if parts.isEmpty {
        let elapsed = Operand(feature: index, fit: fit, part: .elapsed)
        let moments = rows.map { elapsed.value(table, row: $0) }.filter { !$0.isNaN }
        parts = isScaled ? cycles(moments) : calendar(moments)
      }
      return parts.map { Operand(feature: index, fit: fit, part: $0) }
    }
  }

  /// Columns that products and crosses of the run file make.
  ///
  /// - Throws: `TrainingError` that names a column which is none, or columns of two kinds.
  static func interactions(
    _ operands: [Operand], _ configuration: RunConfiguration
  ) throws(TrainingError) -> [ColumnSource] {
    let place = configuration.location(of: "features.interactions")
    var sources: [ColumnSource] = []
    for names in configuration.interactions {
      let listed = "features.interactions: [\(names.joined(separator: ", "))]"
      guard (2...DerivedColumns.operandsMax).contains(names.count) else {
        throw .configuration(
          place, "\(listed): expected 2 to \(DerivedColumns.operandsMax) columns, found \(names.count)")
      }
      var chosen: [Operand] = []
      for name in names.map({ ValueText.normalised($0) }) {
        guard let operand = operands.first(where: { $0.name == name }) else {
          throw .configuration(
            place,
            "\(listed): expected feature columns, or parts of a date such as ordered.month, found \(name.quotedForMessage)"
              + Suggestion.clause(for: name, among: operands.map(\.name)))
        }
        chosen.append(operand)
      }
      guard chosen.allSatisfy({ $0.isNumber == chosen[0].isNumber }) else {
        throw .configuration(
          place,
          "\(listed): expected numbers only, which are multiplied, or categories only, which are crossed, found both")
      }
      if chosen[0].isNumber {
        sources.append(ColumnSource(kind: .product(chosen), form: .number))
      } else {
        let buckets = configuration.buckets
        let isOneHot = configuration.family.preprocessing.categories == .oneHot
        sources.append(
          ColumnSource(
            kind: .cross(chosen, buckets: buckets), form: isOneHot ? .indicators(buckets) : .code(buckets)))
      }
    }
    return sources
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
  /// Importance of features from that of columns: the sum of those that it is behind; one of several features is shared.
  ///
  /// - Parameters:
  ///   - columns: one for each source; any other number is left as it is.
  ///   - features: of the schema.
  func importance(of features: [Feature], from columns: [FeatureImportance]) -> [FeatureImportance] {
    guard columns.count == count else { return columns }
    var sums = features.map { FeatureImportance(name: $0.name, gainShare: 0, splits: 0) }
    for (source, column) in zip(self, columns) {
      let features = Set(source.features)
      for feature in features {
        sums[feature].gainShare += column.gainShare / Double(features.count)
        sums[feature].splits += column.splits
      }
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
