public import NeedletailCore
public import NeedletailEngine

/// Treatment of the columns that a model family asks for before it learns from them. It becomes part of the graph.
public struct PreprocessingRequest: Equatable, Sendable {
  /// Treatment of numbers.
  public enum Numbers: Sendable {
    /// Brought to a common scale, as `preprocessing.scale` says; standardised by default.
    case scaled
    /// Left as they are.
    case unscaled
  }

  /// Treatment of categories.
  public enum Categories: Sendable {
    /// One column of 0 and 1 a category.
    case oneHot
    /// One column that holds the category's code.
    case codes
  }

  /// Treatment of missing values where the run file does not say how to fill them in.
  public enum Missing: Sendable {
    /// Rows with them are refused, in training and in serving.
    case refused
    /// The family gets them as NaN, and its nodes cope with NaN.
    case kept
  }

  public var numbers: Numbers
  public var categories: Categories
  public var missing: Missing
  /// Element type in which the preprocessed row reaches the family's nodes. An ``Input`` of ``Matrix`` takes f32.
  public var element: ValueType.Element

  public init(numbers: Numbers, categories: Categories, missing: Missing, element: ValueType.Element) {
    self.numbers = numbers
    self.categories = categories
    self.missing = missing
    self.element = element
  }

  /// Request of models that add columns up: linear models and networks.
  public static let dense = PreprocessingRequest(
    numbers: .scaled, categories: .oneHot, missing: .refused, element: .float32)
  /// Request of models that look at one column at a time, such as trees. Their thresholds stay exact in f64.
  public static let columns = PreprocessingRequest(
    numbers: .unscaled, categories: .codes, missing: .kept, element: .float64)
}

/// Steps from a raw row to the numbers that a family learns from.
///
/// It is fitted on the training rows only and then becomes the first nodes of the model's graph: impute, one-hot,
/// scale, each only where it has something to do. The trainer runs these nodes on the engine, as the server will.
public struct Preprocessing: Sendable {
  public let schema: FeatureSchema
  /// Width of the preprocessed row.
  public let columns: Int
  /// One a feature, in schema order.
  let columnFits: [ColumnFit]
  /// Element type that features are bound as. It is f64 where the family asks for it, and where a column that is
  /// scaled would lose digits in f32.
  let element: ValueType.Element
  /// Scaling of the preprocessed row; nil where nothing is scaled.
  let affine: Affine?
  /// Sentences for people about columns that are treated in a way they may not expect.
  let warnings: [String]
  /// Indicator columns of each feature, 0 for one that passes through.
  private let widths: [Int]

  /// - Parameters:
  ///   - features: all rows; only `rows` are looked at, except to tell whether values are missing.
  ///   - rows: the training split.
  ///   - target: name of the predicted column.
  /// - Throws: `TrainingError` where a policy does not fit its column, or there are too many columns.
  public init(
    features: Table, rows: [Int], target: String, configuration: RunConfiguration
  ) throws(TrainingError) {
    var fits: [ColumnFit] = []
    for column in features.columns {
      fits.append(
        try ColumnFit(column, rows: rows, policy: configuration.policy(for: column.name), configuration))
    }
    if let kept = fits.first(where: { $0.missing == .keep }), let filled = fits.first(where: \.fills) {
      // One node fills in gaps, and it leaves none.
      let path = "features.columns.\(filled.feature.name).missing"
      throw .configuration(
        configuration.location(of: path),
        "\(path): expected keep or refuse, because \(kept.feature.name.quotedForMessage) keeps its missing values, "
          + "found \(filled.missing.rawValue)")
    }
    let request = configuration.family.preprocessing
    let isOneHot = request.categories == .oneHot
    columnFits = fits
    widths = fits.map { isOneHot ? $0.indicatorCount : 0 }
    schema = FeatureSchema(features: fits.map(\.feature), target: target, rules: configuration.request.rules)
    columns = widths.reduce(0) { $0 + max($1, 1) }
    guard columns <= Limits.columnsMax else {
      throw TrainingError(
        .data, "features: expected at most \(Limits.columnsMax) columns after one-hot encoding, found \(columns)")
    }
    guard configuration.scaling != .none, fits.contains(where: { $0.feature.kind == .numeric }) else {
      element = request.element
      affine = nil
      warnings = request.element == .float64 ? [] : Self.mergedNumbers(features, rows: rows, fits: fits)
      return
    }
    let losesDigits = zip(fits, features.columns).contains { fit, column in
      fit.feature.kind == .numeric && ColumnSpread.losesDigits(Self.numbers(fit, column, rows))
    }
    element = losesDigits ? .float64 : request.element
    (affine, warnings) = Self.fitAffine(
      features, rows: rows, fits: fits, widths: widths, element: element,
      scaling: configuration.scaling == .minMax ? .minMax : .standardise)
  }

  /// Columns of the preprocessed row that hold the indicators of a category, for each feature that has some.
  var indicatorColumns: [Range<Int>] {
    var first = 0
    return widths.compactMap { width in
      defer { first += max(width, 1) }
      return width > 0 ? first..<(first + width) : nil
    }
  }

  // MARK: - fitting

  /// Numbers of a column in f64: gaps filled, kept gaps left out.
  private static func numbers(_ fit: ColumnFit, _ column: Table.Column, _ rows: [Int]) -> [Double] {
    rows.map { fit.bound(column, row: $0) }.filter { !$0.isNaN }
  }

  private static func fitAffine(
    _ table: Table, rows: [Int], fits: [ColumnFit], widths: [Int], element: ValueType.Element, scaling: Affine.Scaling
  ) -> (affine: Affine, warnings: [String]) {
    var affine = Affine(scaling: scaling, offset: [], scale: [])
    var warnings: [String] = []
    for (index, column) in table.columns.enumerated() {
      guard case .numbers = column.values else {
        // Indicators are 0 and 1 already, and codes are names.
        let width = max(widths[index], 1)
        affine.offset += [Float](repeating: 0, count: width)
        affine.scale += [Float](repeating: 1, count: width)
        continue
      }
      let values = numbers(fits[index], column, rows)
      // The numbers as the engine will see them, in its element type.
      let spread = ColumnSpread(element == .float64 ? values : values.map { Double(Float($0)) }, scaling)
      affine.offset.append(spread.offset)
      affine.scale.append(spread.factor)
      if ColumnSpread(values, scaling).isBelowF32 {
        warnings.append(
          "column \(column.name.quotedForMessage): expected numbers that differ by more than 3e-39, the least that "
            + "fp32 can scale, found less: the column counts as constant; use logarithms, or a larger unit")
      }
    }
    return (affine, warnings)
  }

  /// Warnings for columns that reach an fp32 layer as they are, and in which numbers that differ become one.
  private static func mergedNumbers(_ table: Table, rows: [Int], fits: [ColumnFit]) -> [String] {
    zip(fits, table.columns).compactMap { fit, column in
      guard fit.feature.kind == .numeric else { return nil }
      let distinct = Set(numbers(fit, column, rows))
      let merged = distinct.count - Set(distinct.map { Float($0) }).count
      guard merged > 0 else { return nil }
      return
        "column \(column.name.quotedForMessage): \(Figures.count(merged)) of \(Figures.count(distinct.count)) different "
        + "numbers become another one in fp32; set preprocessing.scale: standardise, which is done in fp64"
    }
  }

  // MARK: - running

  /// A graph that holds nothing but the bound input row.
  func emptyGraph() -> GraphBuilder { GraphBuilder(inputColumns: schema.features.count, element: element) }

  /// Adds the preprocessing to an empty graph.
  ///
  /// - Returns: the value that holds the preprocessed row.
  /// - Throws: `TrainingError` that names the node and its column where a fitted number is not finite in f32.
  func export(into graph: inout GraphBuilder) throws(TrainingError) -> Int {
    var value = 0
    if columnFits.contains(where: \.fills) {
      value = try graph.add(
        Impute(fill: columnFits.map(\.fill)), name: "impute", from: value)
    }
    if widths.contains(where: { $0 > 0 }) {
      value = try graph.add(OneHot(widths: widths), name: "one_hot", from: value)
    }
    if let affine {
      value = try graph.add(
        affine, name: affine.scaling == .minMax ? "min_max" : "standardise", from: value)
    }
    return value
  }

  /// A row as a client would send it.
  func cells(of table: Table, row: Int) -> [Cell] {
    table.columns.map { column in
      if column.isMissing(row) { return .missing }
      switch column.values {
      case .numbers(let numbers): return .number(numbers[row])
      case .categories(let codes, let categories): return .text(categories[Int(codes[row])])
      }
    }
  }

  /// False where the row holds a category that training never saw and the schema refuses.
  func accepts(_ table: Table, row: Int) -> Bool {
    zip(columnFits, table.columns).allSatisfy { fit, column in fit.accepts(column, row: row) }
  }

  /// Preprocessed rows, computed by the engine.
  ///
  /// - Parameter rows: indices into the table; may be empty.
  /// - Returns: one row each, ``columns`` wide.
  /// - Throws: `TrainingError` for a row that the schema refuses.
  func transform(_ table: Table, rows: [Int]) throws(TrainingError) -> Matrix {
    guard !rows.isEmpty else { return Matrix(rows: 0, columns: columns) }
    var builder = emptyGraph()
    var value = try export(into: &builder)
    // A plan needs a step, and answers in f32.
    if value == 0 || builder.values[value].type.element != .float32 {
      value = try builder.addIdentity(name: "identity", from: value)
    }
    let graph = ModelGraph(
      task: .regression, values: builder.values, nodes: builder.nodes,
      outputs: [.init(name: "features", value: value, kind: .number)], tensors: [])
    let runner: RowRunner
    do throws(PlanError) {
      runner = try RowRunner(CompiledModel(ModelDefinition(schema: schema, graph: graph, labels: [])))
    } catch {
      throw TrainingError(error)
    }
    let outputs = try runner.run(count: rows.count) { cells(of: table, row: rows[$0]) }
    return Matrix(rows: rows.count, columns: columns, elements: outputs[0])
  }
}
