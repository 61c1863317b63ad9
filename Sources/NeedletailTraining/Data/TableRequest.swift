public import NeedletailCore

/// Files and columns to read, and how.
public struct TableRequest: Sendable {
  /// Reading of a column's text.
  public enum ColumnType: String, Sendable, CaseIterable {
    /// Inferred: numbers if all values are numbers, true/false if all are, else categories.
    case automatic = "auto"
    case numeric
    case categorical
    /// `true` and `false`, or 1 and 0: numbers to the model.
    case bool
    /// A date, a time, or both: seconds since 1970-01-01 00:00 UTC, whose parts and cycles the model gets.
    case datetime
    /// Free text, which counts as it is: for families that take it.
    case text
  }

  /// Use of the target column.
  public enum TargetUse: String, Sendable, CaseIterable {
    /// Inferred: classification for text and for at most 20 different whole numbers, else regression.
    case automatic = "auto"
    case classification
    case regression
  }

  /// Files by their name in messages and their path.
  public var files: [(name: String, path: String)]
  public var format: DataFormat
  /// Feature columns; nil: every column that is neither the target nor dropped.
  public var columns: [String]?
  public var drop: [String]
  public var types: [(column: String, type: ColumnType)]
  /// Order of day and month in dates, where it is declared.
  public var dateOrders: [String: DateOrder]
  public var target: String
  public var targetUse: TargetUse
  /// Column of the rows' weights, which is no feature.
  public var weight: String?
  /// Column that says which rows belong together, which is no feature.
  public var group: String?
  /// Column by which rows are split in the order of time. It may be a feature as well.
  public var time: String?
  /// Column that says which part of the split a row belongs to, which is no feature.
  public var part: String?
  /// Reading of text: the cells that mean a missing value.
  public var rules: ValueRules
  /// True where rows are left out that repeat an earlier one.
  public var dropsDuplicates: Bool
  /// True where columns that are read by themselves may turn out to be free text.
  public var infersText: Bool
  /// Place of a setting in the run file, for messages: `run.yaml:12`.
  public var location: @Sendable (_ setting: String) -> String

  public init(
    files: [(name: String, path: String)], target: String, format: DataFormat = DataFormat(),
    columns: [String]? = nil, drop: [String] = [], types: [(column: String, type: ColumnType)] = [],
    dateOrders: [String: DateOrder] = [:], targetUse: TargetUse = .automatic, weight: String? = nil,
    group: String? = nil, time: String? = nil, part: String? = nil,
    rules: ValueRules = ValueRules(), dropsDuplicates: Bool = false, infersText: Bool = false,
    location: @escaping @Sendable (_ setting: String) -> String = { _ in "run" }
  ) {
    self.files = files
    self.target = ValueText.normalised(target)
    self.format = format
    self.columns = columns?.map { ValueText.normalised($0) }
    self.drop = drop.map { ValueText.normalised($0) }
    self.types = types.map { (ValueText.normalised($0.column), $0.type) }
    self.dateOrders = Dictionary(
      dateOrders.map { (ValueText.normalised($0.key), $0.value) }, uniquingKeysWith: { first, _ in first })
    self.targetUse = targetUse
    self.weight = weight.map { ValueText.normalised($0) }
    self.group = group.map { ValueText.normalised($0) }
    self.time = time.map { ValueText.normalised($0) }
    self.part = part.map { ValueText.normalised($0) }
    self.rules = rules
    self.dropsDuplicates = dropsDuplicates
    self.infersText = infersText
    self.location = location
  }

  /// Columns that are read for other reasons than as features, the target last, with the settings that name them.
  var roles: [(column: String, setting: String, type: ColumnType)] {
    let targetType: ColumnType =
      switch targetUse {
      case .automatic: .automatic
      case .classification: .categorical
      case .regression: .numeric
      }
    return [
      group.map { ($0, "target.group", .categorical) }, weight.map { ($0, "target.weight", .numeric) },
      time.map { ($0, Self.timeSetting, .automatic) }, part.map { ($0, "split.column", .categorical) },
      (target, "target.column", targetType),
    ].compactMap { $0 }
  }

  /// The one role whose column may be a feature as well.
  static let timeSetting = "split.time"
}

extension TableRequest {
  /// Readings of the columns as far as they are declared, the target last.
  func declaredReadings(_ names: [String]) -> [ColumnReading] {
    return names.indices.map { index in
      let declared = types.first { $0.column == names[index] }?.type ?? .automatic
      let role = index - (names.count - roles.count)
      return ColumnReading(
        type: role >= 0 ? roles[role].type : declared, dateOrder: dateOrders[names[index]] ?? .yearFirst)
    }
  }

  /// True where a column's type, or the order of its dates, must be found from its values.
  func isUnknown(_ reading: ColumnReading, _ name: String) -> Bool {
    switch reading.type {
    case .automatic: true
    case .datetime: dateOrders[name] == nil
    case .numeric, .categorical, .bool, .text: false
    }
  }

  /// Different texts that a column may have.
  ///
  /// - Parameter index: of the column; those of roles stand behind the features, the target last.
  func categoriesMax(_ index: Int, of count: Int) -> Int {
    switch index {
    case count - 1: Limits.labelsMax
    case ..<(count - roles.count): Limits.trainingCategoriesMax
    // Groups may be as many as rows.
    default: Limits.trainingRowsMax
    }
  }
}
