internal import COpenBLAS
internal import NeedletailCore

/// The rows that a linear model learns from, in double precision, with each wide category as a number a row, and the terms
/// of texts as lists of those that are there.
///
/// Products with it take the other columns and one addition a row and category: thousands of levels cost no more than one.
struct DesignMatrix: Sendable {
  let rows: Int
  /// Width of the preprocessed row, and of the terms behind it.
  let columns: Int
  private let rowColumns: Int
  private let terms: SparseMatrix
  private let categories: [CodedRows.Category]
  /// Columns that are no indicators of a wide category, row-major.
  private let others: [Double]
  private let otherColumns: Int
  /// Place of each of them in the preprocessed row.
  private let places: [Int]
  /// What was taken off each column, and what it was then divided by.
  let means: [Double]
  let scales: [Double]

  /// Rows whose products are summed at once, which bounds the memory for their copies.
  private static let chunkRows = 2048

  /// - Parameter shares: weights of the rows that add up to 1, by which columns are brought to mean 0 and deviation 1.
  ///   Indicators of wide categories, which stay sparse, are brought to a mean square of 1, and terms stay as they are; nil
  ///   leaves all columns as they are.
  init(_ inputs: IndicatorRows, normalisedBy shares: [Double]? = nil) {
    rows = inputs.rowCount
    columns = inputs.columns
    rowColumns = inputs.row.columns
    terms = SparseMatrix(inputs.terms)
    categories = inputs.row.categories
    otherColumns = inputs.row.numbers.columns
    places = inputs.row.places
    var others = inputs.row.numbers.elements.map { Double($0) }
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
      for column in 0..<width { (means[places[column]], scales[places[column]]) = (mean[column], deviation[column]) }
      for category in categories {
        var sums = [Double](repeating: 0, count: category.columns.count)
        for row in 0..<rows where category.codes[row] >= 0 { sums[Int(category.codes[row])] += shares[row] }
        for (level, sum) in sums.enumerated() where sum > 0 {
          scales[category.columns.lowerBound + level] = sum.squareRoot()
        }
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
    guard otherColumns < columns else { return weights }
    var packed: [Double] = []
    packed.reserveCapacity(outputs * otherColumns)
    for output in 0..<outputs {
      for place in places { packed.append(weights[output * columns + place]) }
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
    for category in categories {
      var effects = [Double](repeating: 0, count: category.columns.count * outputs)
      for (level, column) in category.columns.enumerated() {
        for output in 0..<outputs {
          effects[level * outputs + output] = weights[output * columns + column] / scales[column]
        }
      }
      for row in 0..<rows where category.codes[row] >= 0 {
        let first = Int(category.codes[row]) * outputs
        for output in 0..<outputs { scores[row * outputs + output] += effects[first + output] }
      }
    }
  }

  /// Writes Σ slope · x over the rows into the first [outputs, columns] elements of a gradient.
  ///
  /// - Parameter slopes: [rows, outputs].
  func writeGradient(of slopes: [Double], outputs: Int, to gradient: inout [Double]) {
    let width = Int32(otherColumns)
    terms.writeGradient(of: slopes, first: rowColumns, stride: columns, outputs: outputs, to: &gradient)
    guard otherColumns < columns else {
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
      for (column, place) in places.enumerated() {
        gradient[output * columns + place] = packed[output * otherColumns + column]
      }
    }
    for category in categories {
      var sums = [Double](repeating: 0, count: category.columns.count * outputs)
      for row in 0..<rows where category.codes[row] >= 0 {
        let first = Int(category.codes[row]) * outputs
        for output in 0..<outputs { sums[first + output] += slopes[row * outputs + output] }
      }
      for (level, column) in category.columns.enumerated() {
        for output in 0..<outputs {
          gradient[output * columns + column] = sums[level * outputs + output] / scales[column]
        }
      }
    }
  }

  /// Xᵀ · diag(weights) · X with a column of ones behind the others, (columns + 1)² elements.
  ///
  /// - Parameter weights: a number from 0 for each row.
  /// - Complexity: O(rows · columns²), the columns of each wide category counting as one.
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
    let allPlaces = places + [columns]
    var gram = [Double](repeating: 0, count: size * size)
    for first in 0..<width {
      for second in first..<width {
        let (a, b) = (allPlaces[first], allPlaces[second])
        gram[a * size + b] = inner[first * width + second]
        gram[b * size + a] = inner[first * width + second]
      }
    }
    for (index, category) in categories.enumerated() {
      for row in 0..<rows where category.codes[row] >= 0 {
        let level = category.columns.lowerBound + Int(category.codes[row])
        let weight = weights[row] / scales[level]
        gram[level * size + level] += weight / scales[level]
        gram[level * size + columns] += weight
        for column in 0..<otherColumns {
          gram[level * size + places[column]] += weight * others[row * otherColumns + column]
        }
        for other in categories[(index + 1)...] where other.codes[row] >= 0 {
          let second = other.columns.lowerBound + Int(other.codes[row])
          gram[level * size + second] += weight / scales[second]
          gram[second * size + level] += weight / scales[second]
        }
      }
      for level in category.columns {
        for place in allPlaces { gram[place * size + level] = gram[level * size + place] }
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
