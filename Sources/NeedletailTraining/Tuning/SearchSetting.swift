public import NeedletailEngine

/// A setting of a family that tuning varies, with the values to try.
public struct SearchSetting: Sendable {
  public enum Values: Sendable {
    case real(ClosedRange<Double>, isLogarithmic: Bool)
    case whole(ClosedRange<Int>, isLogarithmic: Bool)
    case choice([Document])
  }

  /// Keys of the run file with dots between them: `training.learning_rate`.
  public var path: String
  /// A choice may be a section: a value for the setting, and for others that stand beside it.
  public var values: Values
  /// Value of the first trial.
  public var first: Document

  public init(_ path: String, _ values: Values, first: Document) {
    self.path = path
    self.values = values
    self.first = first
  }

  /// Numbers that are searched by their logarithm.
  public static func logarithmic(_ path: String, _ range: ClosedRange<Double>, first: Double) -> SearchSetting {
    SearchSetting(path, .real(range, isLogarithmic: true), first: .number(first))
  }

  /// Whole numbers that are searched by their logarithm.
  public static func logarithmic(_ path: String, _ range: ClosedRange<Int>, first: Int) -> SearchSetting {
    SearchSetting(path, .whole(range, isLogarithmic: true), first: .integer(first))
  }

  public static func number(_ path: String, _ range: ClosedRange<Double>, first: Double) -> SearchSetting {
    SearchSetting(path, .real(range, isLogarithmic: false), first: .number(first))
  }

  public static func choice(_ path: String, _ values: [Document]) -> SearchSetting {
    SearchSetting(path, .choice(values), first: values[0])
  }

  /// Paths of all settings that it changes.
  var paths: [String] {
    guard case .choice(let values) = values else { return [path] }
    var paths: [String] = []
    for value in values {
      for change in Self.changes(path, value) where !paths.contains(change.path) { paths.append(change.path) }
    }
    return paths
  }

  /// Settings that a value stands for: one, or those of a section.
  static func changes(_ path: String, _ value: Document) -> [(path: String, value: Document)] {
    guard !value.entries.isEmpty else { return [(path, value)] }
    let section = path.split(separator: ".").dropLast().joined(separator: ".")
    return value.entries.map { ("\(section).\($0.key)", $0.value) }
  }

  /// The setting as a dimension of a search.
  var dimension: SearchSpace.Dimension {
    switch values {
    case .real(let range, let isLogarithmic): .init(path, .real(range, isLogarithmic: isLogarithmic))
    case .whole(let range, let isLogarithmic): .init(path, .whole(range, isLogarithmic: isLogarithmic))
    case .choice(let values): .init(path, .choice(values.count))
    }
  }

  /// Number that stands for the first value; nil where it is none of the values.
  var firstNumber: Double? {
    let number: Double? =
      if case .choice(let values) = values { values.firstIndex(of: first).map { Double($0) } } else { first.number }
    return number.flatMap { dimension.domain.contains($0) ? $0 : nil }
  }

  /// Value that a number of the dimension stands for.
  func value(_ number: Double) -> Document {
    switch values {
    case .real: .number(number)
    case .whole: .integer(Int(number))
    case .choice(let values): values[Int(number)]
    }
  }
}

/// Size and kind of the rows, for families that choose what to vary by it.
public struct SearchTable: Sendable {
  public var task: ModelGraph.Task
  /// 0 for regression.
  public var classes: Int
  public var rows: Int
  public var columns: Int
  public var hasCategories: Bool
  /// Whether some column is text.
  public var hasText = false
}

extension Document {
  /// The value for people: numbers with four digits.
  var shortText: String {
    if case .number(let number) = self { Figures.short(number) } else { inlineYAML }
  }
}
