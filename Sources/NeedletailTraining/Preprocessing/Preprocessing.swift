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
  /// What each column holds before categories become indicators, in order.
  let sources: [ColumnSource]
  /// Indicator columns of each source, 0 for one that passes through.
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
    let sources = ColumnSource.all(features, rows: rows, fits: fits, configuration)
    self.sources = sources
    let hasDates = sources.contains { $0.part != nil }
    widths = sources.map { isOneHot ? $0.fit.indicatorCount : 0 }
    schema = FeatureSchema(features: fits.map(\.feature), target: target, rules: configuration.request.rules)
    columns = widths.reduce(0) { $0 + max($1, 1) }
    guard columns <= Limits.columnsMax else {
      throw TrainingError(
        .data, "features: expected at most \(Limits.columnsMax) columns after one-hot encoding, found \(columns)")
    }
    guard configuration.scaling != .none, sources.contains(where: \.isNumber) else {
      element = hasDates ? .float64 : request.element
      // Dates come in f64, and a family of f32 gets them rounded.
      affine = element == request.element ? nil : .identity(columns: columns)
      warnings = request.element == .float64 ? [] : Self.mergedNumbers(features, rows: rows, sources)
      return
    }
    let losesDigits = sources.contains { source in
      source.isNumber && ColumnSpread.losesDigits(source.numbers(features, rows))
    }
    element = hasDates || losesDigits ? .float64 : request.element
    (affine, warnings) = Self.fitAffine(
      features, rows: rows, sources: sources, widths: widths, element: element,
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

  private static func fitAffine(
    _ table: Table, rows: [Int], sources: [ColumnSource], widths: [Int], element: ValueType.Element,
    scaling: Affine.Scaling
  ) -> (affine: Affine, warnings: [String]) {
    var affine = Affine(scaling: scaling, offset: [], scale: [])
    var warnings: [String] = []
    for (index, source) in sources.enumerated() {
      guard source.isNumber else {
        // Indicators are 0 and 1 already, and codes are names.
        let width = max(widths[index], 1)
        affine.offset += [Float](repeating: 0, count: width)
        affine.scale += [Float](repeating: 1, count: width)
        continue
      }
      let values = source.numbers(table, rows)
      // The numbers as the engine will see them, in its element type.
      let spread = ColumnSpread(element == .float64 ? values : values.map { Double(Float($0)) }, scaling)
      affine.offset.append(spread.offset)
      affine.scale.append(spread.factor)
      if ColumnSpread(values, scaling).isBelowF32 {
        warnings.append(
          "column \(source.name.quotedForMessage): expected numbers that differ by more than 3e-39, the least that "
            + "fp32 can scale, found less: the column counts as constant; use logarithms, or a larger unit")
      }
    }
    return (affine, warnings)
  }

  /// Warnings for columns that reach an fp32 layer as they are, and in which numbers that differ become one.
  private static func mergedNumbers(_ table: Table, rows: [Int], _ sources: [ColumnSource]) -> [String] {
    sources.compactMap { source in
      guard source.isNumber else { return nil }
      let distinct = Set(source.numbers(table, rows))
      let merged = distinct.count - Set(distinct.map { Float($0) }).count
      guard merged > 0 else { return nil }
      return
        "column \(source.name.quotedForMessage): \(Figures.count(merged)) of \(Figures.count(distinct.count)) different "
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
    if sources.contains(where: { $0.part != nil }) {
      var parts = [[DatePart]](repeating: [], count: columnFits.count)
      for source in sources { if let part = source.part { parts[source.feature].append(part) } }
      value = try graph.add(DateParts(parts: parts), name: "date_parts", from: value)
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
  ///
  /// - Parameter datesAreText: false gives dates as seconds since 1970, which takes less time.
  func cells(of table: Table, row: Int, datesAreText: Bool = true) -> [Cell] {
    table.columns.map { column in
      if column.isMissing(row) { return .missing }
      switch column.values {
      case .numbers(let numbers):
        return datesAreText && column.dateOrder != nil ? .text(DateText.text(numbers[row])) : .number(numbers[row])
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
    let outputs = try runner.run(count: rows.count) { cells(of: table, row: rows[$0], datesAreText: false) }
    return Matrix(rows: rows.count, columns: columns, elements: outputs[0])
  }
}
