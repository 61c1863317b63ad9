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
    try self.init(preprocessing, features, rows: rows, levelsMin: 1)
  }

  /// - Parameter levelsMin: categories of fewer levels stay columns of 0 and 1.
  init(
    _ preprocessing: Preprocessing, _ features: Table, rows: [Int], levelsMin: Int
  ) throws(TrainingError) {
    let sources = preprocessing.sources
    let coded = sources.indices.filter { sources[$0].indicatorCount >= levelsMin }
    // A code is one column where its indicators would be many.
    let matrix =
      sources.isEmpty
      ? Matrix(rows: rows.count, columns: 0)
      : try preprocessing.transform(features, rows: rows, keepingCodesOf: Set(coded))
    guard !coded.isEmpty else {
      self.init(matrix)
      return
    }
    /// Columns of each category in the preprocessed row, and of its code in the matrix.
    var (indicators, places): ([Range<Int>], [Int]) = ([], [])
    var (first, place) = (0, 0)
    for source in sources {
      let width = max(source.indicatorCount, 1)
      let isCoded = source.indicatorCount >= levelsMin
      if isCoded {
        indicators.append(first..<(first + width))
        places.append(place)
      }
      first += width
      place += isCoded ? 1 : width
    }
    let width = matrix.columns - coded.count
    var numbers: [Float] = []
    numbers.reserveCapacity(rows.count * width)
    var codes = coded.map { _ in [Int32]() }
    matrix.elements.withUnsafeBufferPointer { elements in
      for start in stride(from: 0, to: elements.count, by: matrix.columns) {
        var done = 0
        for (index, place) in places.enumerated() {
          numbers += elements[(start + done)..<(start + place)]
          done = place + 1
          let code = elements[start + place]
          codes[index].append(code >= 0 && code < Float(indicators[index].count) ? Int32(code) : -1)
        }
        numbers += elements[(start + done)..<(start + matrix.columns)]
      }
    }
    self.init(
      columns: preprocessing.columns, categories: zip(indicators, codes).map { Category(columns: $0, codes: $1) },
      numbers: Matrix(rows: rows.count, columns: width, elements: numbers))
  }

  /// Columns that belong to no category.
  private static func places(_ columns: Int, _ indicators: [Range<Int>]) -> [Int] {
    var places: [Int] = []
    var next = 0
    for range in indicators {
      places += next..<range.lowerBound
      next = range.upperBound
    }
    return places + (next..<columns)
  }

  /// The same rows with the category of the most levels alone as a number, and all others as columns of 0 and 1.
  var keepingWidestCategory: CodedRows {
    guard let widest = categories.max(by: { $0.columns.count < $1.columns.count }), categories.count > 1 else {
      return self
    }
    let others = categories.filter { $0.columns != widest.columns }
    var matrix = Matrix(rows: rowCount, columns: columns - widest.columns.count)
    func place(_ column: Int) -> Int { column < widest.columns.lowerBound ? column : column - widest.columns.count }
    let own = places.map(place)
    for row in 0..<rowCount {
      for (column, place) in own.enumerated() { matrix[row, place] = numbers[row, column] }
      for other in others where other.codes[row] >= 0 {
        matrix[row, place(other.columns.lowerBound + Int(other.codes[row]))] = 1
      }
    }
    return CodedRows(columns: columns, categories: [widest], numbers: matrix)
  }
}
