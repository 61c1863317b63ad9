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
    let sources = preprocessing.sources
    let coded = sources.indices.filter { sources[$0].indicatorCount > 0 }
    let plain = sources.indices.filter { sources[$0].indicatorCount == 0 }
    // A code is one column where its indicators would be many, so that each source is one.
    let matrix = try preprocessing.transform(features, rows: rows, keepingCodesOf: Set(coded))
    var numbers: [Float] = []
    numbers.reserveCapacity(rows.count * plain.count)
    var codes = coded.map { _ in [Int32]() }
    matrix.elements.withUnsafeBufferPointer { elements in
      for first in stride(from: 0, to: elements.count, by: max(sources.count, 1)) {
        for place in plain { numbers.append(elements[first + place]) }
        for (index, place) in coded.enumerated() {
          let code = elements[first + place]
          codes[index].append(code >= 0 && code < Float(indicators[index].count) ? Int32(code) : -1)
        }
      }
    }
    self.init(
      columns: columns, categories: zip(indicators, codes).map { Category(columns: $0, codes: $1) },
      numbers: Matrix(rows: rows.count, columns: plain.count, elements: numbers))
  }

  private static func places(_ columns: Int, _ indicators: [Range<Int>]) -> [Int] {
    (0..<columns).filter { column in !indicators.contains { $0.contains(column) } }
  }
}
