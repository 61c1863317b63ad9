/// What to read from which files.
public struct TableRequest: Sendable {
  /// How a column's text is understood.
  public enum ColumnType: String, Sendable, CaseIterable {
    /// Numbers if nearly all values are numbers, true/false if all are, else categories.
    case automatic = "auto"
    case numeric
    case categorical
    /// `true` and `false`, or 1 and 0: numbers to the model.
    case bool
  }

  /// What a target column is for.
  public enum TargetUse: String, Sendable, CaseIterable {
    /// Classification for text and for at most 20 different whole numbers, else regression.
    case automatic = "auto"
    case classification
    case regression
  }

  /// As written, and where they are.
  public var files: [(name: String, path: String)]
  public var delimiter: UInt8
  /// Feature columns; nil: every column that is neither the target nor dropped.
  public var columns: [String]?
  public var drop: [String]
  public var types: [(column: String, type: ColumnType)]
  public var target: String
  public var targetUse: TargetUse
  /// What stands for a missing value, beside an empty cell.
  public var missing: [String]
  public var dropsDuplicates: Bool
  /// Where in the run file a setting stands, for messages: `run.yaml:12`.
  public var location: @Sendable (_ setting: String) -> String

  public init(
    files: [(name: String, path: String)], target: String, delimiter: UInt8 = UInt8(ascii: ","),
    columns: [String]? = nil, drop: [String] = [], types: [(column: String, type: ColumnType)] = [],
    targetUse: TargetUse = .automatic, missing: [String] = ["", "NA", "NaN", "null", "?"],
    dropsDuplicates: Bool = true, location: @escaping @Sendable (_ setting: String) -> String = { _ in "run" }
  ) {
    self.files = files
    self.target = target
    self.delimiter = delimiter
    self.columns = columns
    self.drop = drop
    self.types = types
    self.targetUse = targetUse
    self.missing = missing
    self.dropsDuplicates = dropsDuplicates
    self.location = location
  }
}

/// The rows a run works on, and what became of those it does not.
public struct Dataset: Sendable {
  /// Features only, in the order of the request.
  public var features: Table
  public var target: Table.Column
  public var rowsRead: Int
  public var duplicatesDropped: Int
  /// Rows without a target value: nothing can be learned from them.
  public var unlabelledDropped: Int
  /// SHA-256 over all files in their order, lower-case hexadecimal.
  public var sha256: String

  public var rowCount: Int { features.rowCount }
}
