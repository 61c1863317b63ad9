internal import CNeedletailTraining
internal import NeedletailCore
internal import NeedletailEngine

/// Rows of which few columns are not 0, such as the terms of texts.
public struct SparseRows: Equatable, Sendable {
  public let columns: Int
  /// Numbers of row r lie from `starts[r]` up to `starts[r + 1]`.
  private(set) var starts: [UInt64] = [0]
  /// Column of each number; ascending in a row.
  private(set) var places: [UInt32] = []
  private(set) var numbers: [Float] = []

  public var rowCount: Int { starts.count - 1 }

  /// Rows of columns that are all 0.
  public init(rows: Int = 0, columns: Int = 0) {
    self.columns = columns
    starts = [UInt64](repeating: 0, count: rows + 1)
  }

  /// Adds a row.
  ///
  /// - Parameter row: columns that are not 0, ascending, and their numbers.
  mutating func append(_ row: [(column: UInt32, number: Float)]) {
    places += row.map(\.column)
    numbers += row.map(\.number)
    starts.append(UInt64(places.count))
  }

  /// Terms of the columns of text, one column behind the other, as the model's graph finds them.
  init(_ preprocessing: Preprocessing, _ features: Table, rows: [Int]) throws(TrainingError) {
    let texts = preprocessing.texts
    columns = texts.reduce(0) { $0 + $1.columns }
    guard !texts.isEmpty else {
      starts = [UInt64](repeating: 0, count: rows.count + 1)
      return
    }
    var encoders: [TermEncoder] = []
    do throws(PlanError) {
      for text in texts { encoders.append(try TermEncoder(text.operation, textBytesMax: Limits.textBytesMaxDefault)) }
    } catch {
      throw TrainingError(error)
    }
    starts.reserveCapacity(rows.count + 1)
    for row in rows {
      var first: UInt32 = 0
      for (text, encoder) in zip(texts, encoders) {
        var own = features.columns[text.feature].text(row)
        own.withUTF8 { bytes in
          let terms = encoder.terms(of: bytes)
          places += terms.columns.map { $0 + first }
          numbers += terms.weights
        }
        first += UInt32(text.columns)
      }
      starts.append(UInt64(places.count))
    }
  }

  /// Mean of each column over all rows.
  var means: [Double] {
    var sums = [Double](repeating: 0, count: columns)
    for (place, number) in zip(places, numbers) { sums[Int(place)] += Double(number) }
    return sums.map { $0 / Double(max(rowCount, 1)) }
  }

  /// The same numbers by column: places are rows.
  fileprivate var transposed: SparseRows {
    var result = SparseRows(rows: columns, columns: rowCount)
    result.places = [UInt32](repeating: 0, count: places.count)
    result.numbers = [Float](repeating: 0, count: numbers.count)
    withLists { lists in
      withUnsafePointer(to: lists) {
        nt_sparse_transpose($0, columns, &result.starts, &result.places, &result.numbers)
      }
    }
    return result
  }

  fileprivate func withLists(_ body: (nt_sparse_lists) -> Void) {
    starts.withUnsafeBufferPointer { starts in
      places.withUnsafeBufferPointer { places in
        numbers.withUnsafeBufferPointer { numbers in
          body(
            nt_sparse_lists(
              starts: starts.baseAddress, places: places.baseAddress, numbers: numbers.baseAddress, count: rowCount))
        }
      }
    }
  }
}

/// Sparse rows with what products in both directions need.
struct SparseMatrix: Sendable {
  let rows: SparseRows
  private let byColumn: SparseRows

  init(_ rows: SparseRows) {
    self.rows = rows
    byColumn = rows.columns > 0 ? rows.transposed : SparseRows(rows: 0)
  }

  var columns: Int { rows.columns }

  /// Adds x · wᵀ to the scores of each row.
  ///
  /// - Parameters:
  ///   - weights: [outputs, stride], of which these columns stand from `first` on.
  ///   - scores: [rows, outputs].
  func addProducts(with weights: [Double], first: Int, stride: Int, outputs: Int, to scores: inout [Double]) {
    guard columns > 0 else { return }
    var factors = [Double](repeating: 0, count: columns * outputs)
    for output in 0..<outputs {
      let start = output * stride + first
      for column in 0..<columns { factors[column * outputs + output] = weights[start + column] }
    }
    Self.add(rows, factors, outputs, &scores)
  }

  /// Writes Σ slope · x over the rows into a gradient, laid out as the weights are.
  ///
  /// - Parameter slopes: [rows, outputs].
  func writeGradient(of slopes: [Double], first: Int, stride: Int, outputs: Int, to gradient: inout [Double]) {
    guard columns > 0 else { return }
    var sums = [Double](repeating: 0, count: columns * outputs)
    Self.add(byColumn, slopes, outputs, &sums)
    for output in 0..<outputs {
      let start = output * stride + first
      for column in 0..<columns { gradient[start + column] = sums[column * outputs + output] }
    }
  }

  private static func add(_ lists: SparseRows, _ factors: [Double], _ outputs: Int, _ sums: inout [Double]) {
    lists.withLists { lists in
      withUnsafePointer(to: lists) { nt_sparse_add($0, 0, lists.count, factors, outputs, &sums) }
    }
  }
}
