public import NeedletailCore
internal import NeedletailEngine

/// A form in which a family gets the rows that it learns from.
///
/// ``Matrix`` holds what the model's graph computes from a raw row before the family's own nodes, in fp32.
/// ``FeatureColumns`` holds the columns themselves. A family names one of them as its `Input`.
public protocol TrainingInput: Sendable {
  /// Preprocessing for a family with this input, unless it asks for another.
  static var preprocessing: PreprocessingRequest { get }

  /// Takes rows of a table through the preprocessing that was fitted on the training rows.
  ///
  /// - Parameters:
  ///   - preprocessing: fitted for the family's ``ModelFamily/preprocessing``.
  ///   - features: the table, in schema order.
  ///   - rows: indices into it; may be empty.
  /// - Throws: `TrainingError` for a row that the schema refuses.
  init(_ preprocessing: Preprocessing, _ features: Table, rows: [Int]) throws(TrainingError)

  /// Number of rows held.
  var rowCount: Int { get }
}

/// A dense matrix of fp32, row-major: one sample a row, or one output channel a row.
public struct Matrix: Equatable, Sendable {
  public let rows: Int
  public let columns: Int
  /// `rows × columns` elements.
  public var elements: [Float]

  public init(rows: Int, columns: Int, elements: [Float]) {
    precondition(elements.count == rows * columns, "\(elements.count) elements for \(rows) × \(columns)")
    self.rows = rows
    self.columns = columns
    self.elements = elements
  }

  /// A matrix of zeros.
  public init(rows: Int, columns: Int) {
    self.init(rows: rows, columns: columns, elements: [Float](repeating: 0, count: rows * columns))
  }

  public subscript(row: Int, column: Int) -> Float {
    get { elements[row * columns + column] }
    set { elements[row * columns + column] = newValue }
  }
}

extension Matrix: TrainingInput {
  public static let preprocessing = PreprocessingRequest.dense

  public init(_ preprocessing: Preprocessing, _ features: Table, rows: [Int]) throws(TrainingError) {
    self = try preprocessing.transform(features, rows: rows)
  }

  public var rowCount: Int { rows }
}

/// Columns as the graph's input row holds them: for families that look at one column at a time, such as trees.
///
/// The graph takes them in f64, so that a threshold learned from their digits sends a row the same way in a server.
/// A family that asks for f32 instead gets them rounded to it.
public struct FeatureColumns: TrainingInput, Equatable {
  public struct Column: Equatable, Sendable {
    /// Name and kind as a client sees them.
    public var feature: Feature
    /// One number a row: a value, or the code of a category, −1 for one that training never saw, and the number
    /// of categories for one that the schema gathers as `other`. Missing is NaN.
    public var values: [Double]
  }

  public static let preprocessing = PreprocessingRequest.columns

  /// One a feature, in schema order.
  public let columns: [Column]
  public let rowCount: Int

  public init(_ preprocessing: Preprocessing, _ features: Table, rows: [Int]) throws(TrainingError) {
    rowCount = rows.count
    let isDouble = preprocessing.element == .float64
    columns = zip(preprocessing.columnFits, features.columns).map { fit, column in
      let values = rows.map { fit.bound(column, row: $0) }
      return Column(feature: fit.feature, values: isDouble ? values : values.map { Double(Float($0)) })
    }
  }
}

/// Preprocessed rows and their targets.
public struct Samples<Input: TrainingInput>: Sendable {
  /// One row a sample.
  public var inputs: Input
  /// Class indices for classification, the values themselves for regression.
  public var targets: [Double]

  /// - Precondition: as many targets as rows.
  public init(inputs: Input, targets: [Double]) {
    precondition(inputs.rowCount == targets.count)
    self.inputs = inputs
    self.targets = targets
  }

  public var count: Int { targets.count }
}
