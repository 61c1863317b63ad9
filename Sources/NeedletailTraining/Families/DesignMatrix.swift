internal import COpenBLAS
internal import NeedletailCore

/// The rows that a linear model learns from, in double precision, with the widest category as a number a row, and the
/// terms of texts as lists of those that are there.
///
/// Products with it take the other columns and one addition a row: thousands of levels cost no more than one.
struct DesignMatrix: Sendable {
  let rows: Int
  /// Width of the preprocessed row, and of the terms behind it.
  let columns: Int
  private let rowColumns: Int
  private let terms: SparseMatrix
  private let indicators: Range<Int>
  private let levels: [Int32]
  /// Columns that are no indicators of the widest category, row-major.
  private let others: [Double]
  private let otherColumns: Int
  /// What was taken off each column, and what it was then divided by.
  let means: [Double]
  let scales: [Double]

  /// Rows whose products are summed at once, which bounds the memory for their copies.
  private static let chunkRows = 2048

  /// - Parameter shares: weights of the rows that add up to 1, by which columns are brought to mean 0 and deviation 1,
  ///   the widest category's indicators and terms excepted; nil leaves all columns as they are.
  init(_ inputs: IndicatorRows, normalisedBy shares: [Double]? = nil) {
    rows = inputs.rowCount
    columns = inputs.columns
    rowColumns = inputs.rowColumns
    terms = SparseMatrix(inputs.terms)
    indicators = inputs.indicators
    levels = inputs.levels
    otherColumns = inputs.others.columns
    var others = inputs.others.elements.map { Double($0) }
    var means = [Double](repeating: 0, count: columns)
    var scales = [Double](repeating: 1, count: columns)
    if let shares {
      let width = otherColumns
      var mean = [Double](repeating: 0, count: width)
      for row in 0..<rows {
        for column in 0..<width { mean[column] += shares[row] * others[row * width + column] }
      }
      var square = [Double](repeating: 0, count: width)
      for row in 0..<rows {
        for column in 0..<width {
          others[row * width + column] -= mean[column]
          square[column] += shares[row] * others[row * width + column] * others[row * width + column]
        }
      }
      let deviation = square.map { $0 > 0 ? $0.squareRoot() : 1 }
      for row in 0..<rows {
        for column in 0..<width { others[row * width + column] /= deviation[column] }
      }
      for column in 0..<width {
        let place = column < indicators.lowerBound || indicators.isEmpty ? column : column + indicators.count
        (means[place], scales[place]) = (mean[column], deviation[column])
      }
    }
    self.others = others
    self.means = means
    self.scales = scales
  }

  /// Weights of the columns as they came, and the intercept beside them, from those of the columns held here.
  ///
  /// - Parameter point: a weight for each column, then the intercept.
  func unscaled(_ point: [Double]) -> (weights: [Double], intercept: Double) {
    let weights = (0..<columns).map { point[$0] / scales[$0] }
    return (weights, point[columns] - zip(weights, means).reduce(0) { $0 + $1.0 * $1.1 })
  }

  /// Weights of the columns beside the indicators, output by output.
  private func packed(_ weights: [Double], _ outputs: Int) -> [Double] {
    guard !indicators.isEmpty || terms.columns > 0 else { return weights }
    var packed: [Double] = []
    packed.reserveCapacity(outputs * otherColumns)
    for output in 0..<outputs {
      let first = output * columns
      packed += weights[first..<(first + indicators.lowerBound)]
      packed += weights[(first + indicators.upperBound)..<(first + rowColumns)]
    }
    return packed
  }

  /// Adds x · wᵀ to the scores of each row.
  ///
  /// - Parameters:
  ///   - weights: [outputs, columns]; what stands behind is not looked at.
  ///   - scores: [rows, outputs].
  func addProducts(with weights: [Double], outputs: Int, to scores: inout [Double]) {
    if otherColumns > 0 {
      cblas_dgemm(
        CblasRowMajor, CblasNoTrans, CblasTrans, Int32(rows), Int32(outputs), Int32(otherColumns), 1, others,
        Int32(otherColumns), packed(weights, outputs), Int32(otherColumns), 1, &scores, Int32(outputs))
    }
    terms.addProducts(with: weights, first: rowColumns, stride: columns, outputs: outputs, to: &scores)
    guard !indicators.isEmpty else { return }
    for row in 0..<rows where levels[row] >= 0 {
      let column = indicators.lowerBound + Int(levels[row])
      for output in 0..<outputs { scores[row * outputs + output] += weights[output * columns + column] }
    }
  }

  /// Writes Σ slope · x over the rows into the first [outputs, columns] elements of a gradient.
  ///
  /// - Parameter slopes: [rows, outputs].
  func writeGradient(of slopes: [Double], outputs: Int, to gradient: inout [Double]) {
    let width = Int32(otherColumns)
    terms.writeGradient(of: slopes, first: rowColumns, stride: columns, outputs: outputs, to: &gradient)
    guard !indicators.isEmpty || terms.columns > 0 else {
      cblas_dgemm(
        CblasRowMajor, CblasTrans, CblasNoTrans, Int32(outputs), width, Int32(rows), 1, slopes, Int32(outputs), others,
        width, 0, &gradient, width)
      return
    }
    var packed = [Double](repeating: 0, count: max(outputs * otherColumns, 1))
    if otherColumns > 0 {
      cblas_dgemm(
        CblasRowMajor, CblasTrans, CblasNoTrans, Int32(outputs), width, Int32(rows), 1, slopes, Int32(outputs), others,
        width, 0, &packed, width)
    }
    for output in 0..<outputs {
      for column in 0..<otherColumns {
        let place = column < indicators.lowerBound || indicators.isEmpty ? column : column + indicators.count
        gradient[output * columns + place] = packed[output * otherColumns + column]
      }
      for column in indicators { gradient[output * columns + column] = 0 }
    }
    guard !indicators.isEmpty else { return }
    for row in 0..<rows where levels[row] >= 0 {
      let column = indicators.lowerBound + Int(levels[row])
      for output in 0..<outputs { gradient[output * columns + column] += slopes[row * outputs + output] }
    }
  }

  /// Xᵀ · diag(weights) · X with a column of ones behind the others, (columns + 1)² elements.
  ///
  /// - Parameter weights: a number from 0 for each row.
  /// - Complexity: O(rows · columns²), the widest category's columns counting as one.
  /// - Precondition: there are no terms.
  func gram(_ weights: [Double]) -> [Double] {
    let (width, size) = (otherColumns + 1, columns + 1)
    var inner = [Double](repeating: 0, count: width * width)
    var chunk = [Double](repeating: 0, count: min(Self.chunkRows, max(rows, 1)) * width)
    for start in stride(from: 0, to: rows, by: Self.chunkRows) {
      let count = min(Self.chunkRows, rows - start)
      for row in 0..<count {
        let root = weights[start + row].squareRoot()
        for column in 0..<otherColumns {
          chunk[row * width + column] = root * others[(start + row) * otherColumns + column]
        }
        chunk[row * width + otherColumns] = root
      }
      cblas_dsyrk(
        CblasRowMajor, CblasUpper, CblasTrans, Int32(width), Int32(count), 1, chunk, Int32(width), 1, &inner,
        Int32(width))
    }
    func place(_ column: Int) -> Int {
      column < indicators.lowerBound || indicators.isEmpty ? column : column + indicators.count
    }
    var gram = [Double](repeating: 0, count: size * size)
    for first in 0..<width {
      for second in first..<width {
        let (a, b) = (place(first), place(second))
        gram[a * size + b] = inner[first * width + second]
        gram[b * size + a] = inner[first * width + second]
      }
    }
    guard !indicators.isEmpty else { return gram }
    for row in 0..<rows where levels[row] >= 0 {
      let level = indicators.lowerBound + Int(levels[row])
      gram[level * size + level] += weights[row]
      gram[level * size + columns] += weights[row]
      for column in 0..<otherColumns {
        gram[level * size + place(column)] += weights[row] * others[row * otherColumns + column]
      }
    }
    for level in indicators {
      for column in 0..<size where !indicators.contains(column) {
        gram[column * size + level] = gram[level * size + column]
      }
    }
    return gram
  }

  /// - Throws: `TrainingError` of kind `fit` where the products of all columns would not fit into memory.
  func checkGram() throws(TrainingError) {
    guard columns < Limits.leastSquaresColumnsMax else {
      throw .fit(
        "linear_regression: expected at most \(Figures.count(Limits.leastSquaresColumnsMax)) columns after one-hot "
          + "encoding, found \(Figures.count(columns)); drop the columns with the most categories (data.drop)")
    }
  }
}
