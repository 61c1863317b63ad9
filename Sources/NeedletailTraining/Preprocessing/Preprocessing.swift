public import NeedletailCore
internal import NeedletailEngine

/// What leads from a raw row to the numbers a family learns from: fitted on training rows only, and then
/// part of the model's graph. The trainer runs it on the engine as the server will.
public struct Preprocessing: Sendable {
  public let schema: FeatureSchema
  /// Columns after one-hot encoding.
  public let columns: Int
  /// Per feature; only used where the policy is `impute`.
  let fills: [Float]
  /// Per feature: 0 for numbers, else the number of indicator columns.
  let widths: [Int]
  let affine: Affine?
  /// Per feature: the table's category code → the schema's.
  private let recoding: [[Int32]]

  /// - Parameters:
  ///   - features: all rows; only `rows` are looked at, except to tell whether values are missing.
  ///   - rows: the training split.
  ///   - target: name of the predicted column.
  public init(
    features: Table, rows: [Int], target: String, configuration: RunConfiguration
  ) throws(TrainingError) {
    var schemaFeatures: [Feature] = []
    var fills: [Float] = []
    var widths: [Int] = []
    var recoding: [[Int32]] = []
    for column in features.columns {
      let fit = try ColumnFit(column, rows: rows, policy: configuration.policy(for: column.name), configuration)
      schemaFeatures.append(fit.feature)
      fills.append(fit.fill)
      widths.append(fit.width)
      recoding.append(fit.recoding)
    }
    schema = FeatureSchema(features: schemaFeatures, target: target)
    self.fills = fills
    self.widths = widths
    self.recoding = recoding
    let columns = widths.reduce(0) { $0 + max($1, 1) }
    self.columns = columns
    guard columns <= Limits.columnsMax else {
      throw TrainingError(
        .data, "features: expected at most \(Limits.columnsMax) columns after one-hot encoding, found \(columns)")
    }
    affine = Self.fitAffine(features, rows: rows, fills: fills, widths: widths, scaling: configuration.scaling)
  }

  // MARK: - fitting

  private static func fitAffine(
    _ table: Table, rows: [Int], fills: [Float], widths: [Int], scaling: RunConfiguration.Scaling
  ) -> Affine? {
    guard scaling != .none, widths.contains(0) else { return nil }
    var affine = Affine(scaling: scaling == .minMax ? .minMax : .standardise, offset: [], scale: [])
    for (index, column) in table.columns.enumerated() {
      guard case .numbers(let numbers) = column.values else {
        // Indicators are 0 and 1 already.
        affine.offset += [Float](repeating: 0, count: widths[index])
        affine.scale += [Float](repeating: 1, count: widths[index])
        continue
      }
      // As the engine will see them: fp32, gaps filled.
      let seen = rows.map { numbers[$0].isNaN ? Double(fills[index]) : Double(Float(numbers[$0])) }
      let (offset, scale) = scaling == .minMax ? minMax(seen) : standardise(seen)
      affine.offset.append(Float(offset))
      affine.scale.append(Float(scale))
    }
    return affine
  }

  /// A column that never changed in training becomes 0 throughout: its factor is then 1, and families give it
  /// no weight.
  private static func standardise(_ values: [Double]) -> (offset: Double, scale: Double) {
    let mean = values.reduce(0, +) / Double(values.count)
    let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count)
    let isConstant = values.allSatisfy { $0 == values[0] }
    return (mean, isConstant || variance == 0 ? 1 : 1 / variance.squareRoot())
  }

  private static func minMax(_ values: [Double]) -> (offset: Double, scale: Double) {
    let low = values.min() ?? 0
    let high = values.max() ?? 0
    return (low, high > low ? 1 / (high - low) : 1)
  }

  // MARK: - running

  /// Adds Impute → OneHot → Affine, each only where it has something to do.
  ///
  /// - Returns: the value that holds the preprocessed row.
  func export(into graph: inout GraphBuilder) -> Int {
    var value = 0
    if schema.features.contains(where: { $0.missing == .impute }) {
      value = graph.add(.impute(fill: fills), name: "impute", from: value, columns: fills.count)
    }
    if widths.contains(where: { $0 > 0 }) {
      value = graph.add(.oneHot(widths: widths), name: "one_hot", from: value, columns: columns)
    }
    if let affine {
      value = graph.add(
        .affine(affine), name: affine.scaling == .minMax ? "min_max" : "standardise", from: value, columns: columns)
    }
    return value
  }

  /// A row as a client would send it.
  func cells(of table: Table, row: Int) -> [Cell] {
    table.columns.map { column in
      switch column.values {
      case .numbers(let numbers): numbers[row].isNaN ? .missing : .number(numbers[row])
      case .categories(let codes, let categories): codes[row] < 0 ? .missing : .text(categories[Int(codes[row])])
      }
    }
  }

  /// False where the row holds a category that training never saw and the schema refuses.
  func accepts(_ table: Table, row: Int) -> Bool {
    for (index, column) in table.columns.enumerated() {
      guard case .categories(let codes, _) = column.values,
        case .categorical(_, .refuse) = schema.features[index].kind
      else { continue }
      if codes[row] >= 0, recoding[index][Int(codes[row])] < 0 { return false }
    }
    return true
  }

  /// Preprocessed rows, computed by the engine.
  func transform(_ table: Table, rows: [Int]) throws(TrainingError) -> Matrix {
    var builder = GraphBuilder(inputColumns: schema.features.count)
    var value = export(into: &builder)
    if value == 0 {
      // A plan needs a step: an affine that changes nothing.
      let identity = Affine(
        scaling: .standardise, offset: [Float](repeating: 0, count: columns),
        scale: [Float](repeating: 1, count: columns))
      value = builder.add(.affine(identity), name: "identity", from: 0, columns: columns)
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
