internal import NeedletailCore

/// Preprocessed rows in which every category is kept as a number instead of a column of 0 and 1 for each level.
public struct CodedRows: TrainingInput, Equatable {
  /// One category of the preprocessed row.
  public struct Category: Equatable, Sendable {
    /// Columns of its indicators in the preprocessed row.
    public var columns: Range<Int>
    /// Per row the position in `columns` of the indicator that is 1; −1 where all are 0.
    public var codes: [Int32]
  }

  /// Width of the preprocessed row.
  public let columns: Int
  public let categories: [Category]
  /// All other columns, in their order.
  public let numbers: Matrix
  /// Place of each of them in the preprocessed row.
  let places: [Int]

  public static let preprocessing = PreprocessingRequest.dense
  /// Rows preprocessed at once, which bounds the memory for their columns.
  private static let chunkRows = 1024

  public var rowCount: Int { numbers.rows }

  /// Rows without categories.
  public init(_ matrix: Matrix) {
    self.init(columns: matrix.columns, categories: [], numbers: matrix)
  }

  /// - Precondition: categories stand in the order of their columns, and have a code a row.
  init(columns: Int, categories: [Category], numbers: Matrix) {
    self.columns = columns
    self.categories = categories
    self.numbers = numbers
    places = Self.places(columns, categories.map(\.columns))
    precondition(places.count == numbers.columns && categories.allSatisfy { $0.codes.count == numbers.rows })
  }

  public init(_ preprocessing: Preprocessing, _ features: Table, rows: [Int]) throws(TrainingError) {
    let indicators = preprocessing.indicatorColumns
    let columns = preprocessing.columns
    let places = Self.places(columns, indicators)
    var numbers: [Float] = []
    numbers.reserveCapacity(rows.count * places.count)
    var codes = indicators.map { _ in [Int32]() }
    for start in stride(from: 0, to: rows.count, by: Self.chunkRows) {
      let chunk = try preprocessing.transform(
        features, rows: Array(rows[start..<min(start + Self.chunkRows, rows.count)]))
      chunk.elements.withUnsafeBufferPointer { elements in
        for first in stride(from: 0, to: chunk.rows * columns, by: max(columns, 1)) {
          for place in places { numbers.append(elements[first + place]) }
          for (index, range) in indicators.enumerated() {
            let code = range.firstIndex { elements[first + $0] != 0 }
            codes[index].append(code.map { Int32($0 - range.lowerBound) } ?? -1)
          }
        }
      }
    }
    self.init(
      columns: columns, categories: zip(indicators, codes).map { Category(columns: $0, codes: $1) },
      numbers: Matrix(rows: rows.count, columns: places.count, elements: numbers))
  }

  private static func places(_ columns: Int, _ indicators: [Range<Int>]) -> [Int] {
    (0..<columns).filter { column in !indicators.contains { $0.contains(column) } }
  }
}
