internal import NeedletailCore

/// Preprocessed rows in which every category of many levels is kept as a number a row instead of a column a level, with
/// the terms of texts behind them.
///
/// A thousand levels would be a thousand columns of zeros with one 1 a row: for 100,000 rows 400 MB.
public struct IndicatorRows: TrainingInput, Equatable {
  /// Width of the preprocessed row, and of the terms of texts behind it.
  public var columns: Int { row.columns + terms.columns }
  /// The preprocessed row.
  public let row: CodedRows
  /// Terms of texts.
  public let terms: SparseRows

  /// Below so many levels plain columns are quicker.
  public static let levelsMin = 64
  public static let preprocessing = PreprocessingRequest.dense

  public var rowCount: Int { row.rowCount }

  /// Rows without categories.
  public init(_ matrix: Matrix) { self.init(CodedRows(matrix)) }

  /// - Precondition: terms of as many rows, or none.
  init(_ row: CodedRows, terms: SparseRows? = nil) {
    precondition(terms.map { $0.rowCount == row.rowCount } ?? true)
    self.row = row
    self.terms = terms ?? SparseRows(rows: row.rowCount)
  }

  public init(_ preprocessing: Preprocessing, _ features: Table, rows: [Int]) throws(TrainingError) {
    self.init(
      try CodedRows(preprocessing, features, rows: rows, levelsMin: Self.levelsMin),
      terms: try SparseRows(preprocessing, features, rows: rows))
  }

  /// Columns beside the category of the most levels, whose products exact solutions take.
  var columnsBesideWidest: Int { row.columns - (row.categories.map(\.columns.count).max() ?? 0) }
}
