internal import NeedletailCore
internal import NeedletailEngine

/// The fitted steps as nodes of a graph, and rows that the engine takes through them.
extension Preprocessing {
  /// A graph that holds nothing but the bound input row.
  func emptyGraph() -> GraphBuilder {
    GraphBuilder(inputColumns: schema.features.count, element: element, texts: texts.count)
  }

  /// Features that are columns of the preprocessed row, in schema order: all but texts.
  private var rowFeatures: [Int] { columnFits.indices.filter { columnFits[$0].feature.kind != .text } }

  /// Adds the preprocessing to an empty graph.
  ///
  /// - Returns: the value that holds the preprocessed row; the raw row where all features are text.
  /// - Throws: `TrainingError` that names the node and its column where a fitted number is not finite in f32.
  func export(into graph: inout GraphBuilder) throws(TrainingError) -> Int {
    try export(into: &graph, fold: nil, keepingCodesOf: [])
  }

  /// - Parameters:
  ///   - fold: encodes categories as for the training rows of a fold; nil: as for all other rows.
  ///   - kept: indices of sources whose codes stay instead of becoming indicators.
  func export(
    into graph: inout GraphBuilder, fold: Int?, keepingCodesOf kept: Set<Int>
  ) throws(TrainingError) -> Int {
    graph.terms = []
    for text in texts {
      guard let input = graph.textInput else { preconditionFailure("a graph for texts has a value of them") }
      let name = "\(columnFits[text.feature].feature.name).terms"
      graph.terms.append(try graph.add(text.operation, name: name, from: input))
    }
    guard !sources.isEmpty else { return 0 }
    var value = 0
    let rowFeatures = rowFeatures
    let rowFits = rowFeatures.map { columnFits[$0] }
    func place(_ feature: Int) -> Int { rowFeatures.firstIndex(of: feature) ?? 0 }
    if !texts.isEmpty { value = try graph.add(SelectColumns(columns: rowFeatures), name: "columns", from: value) }
    let flags = sources.compactMap { source -> Int? in
      if case .flag(let operand) = source.kind { place(operand.feature) } else { nil }
    }
    if !flags.isEmpty {
      let derived = DerivedColumns(derivations: flags.map { .init(.missing, of: [$0]) })
      value = try graph.add(derived, name: "missing_flags", from: value)
    }
    if rowFits.contains(where: \.fills) {
      let fill = rowFits.map(\.fill) + [Float](repeating: 0, count: flags.count)
      value = try graph.add(Impute(fill: fill), name: "impute", from: value)
    }
    if operands.contains(where: { $0.part != nil }) {
      var parts = [[DatePart]](repeating: [], count: rowFits.count + flags.count)
      for operand in operands { if let part = operand.part { parts[place(operand.feature)].append(part) } }
      value = try graph.add(DateParts(parts: parts), name: "date_parts", from: value)
    }
    let derivations = sources.compactMap { source -> DerivedColumns.Derivation? in
      switch source.kind {
      case .product(let factors): return .init(.product, of: factors.map(column(of:)))
      case .cross(let codes, let buckets): return .init(.cross, of: codes.map(column(of:)), buckets: buckets)
      case .plain, .flag, .encoded: return nil
      }
    }
    if !derivations.isEmpty {
      value = try graph.add(DerivedColumns(derivations: derivations), name: "interactions", from: value)
    }
    let tables = tables(fold: fold, columns: graph.columns(of: value))
    if tables.contains(where: { $0 != nil }) {
      value = try graph.add(Lookup(tables: tables), name: "encode", from: value)
    }
    if sources.contains(where: { $0.scaling.curve != .none }) {
      value = try graph.add(Curves(curves: sources.map(\.scaling.curve)), name: "curves", from: value)
    }
    let widths = sources.indices.map { kept.contains($0) ? 0 : sources[$0].indicatorCount }
    if widths.contains(where: { $0 > 0 }) {
      value = try graph.add(OneHot(widths: widths), name: "one_hot", from: value)
    }
    if let affine = affine(keepingCodesOf: kept) {
      let name = affine.scaling == .minMax ? "min_max" : affine.scaling == .robust ? "scale" : "standardise"
      value = try graph.add(affine, name: name, from: value)
    }
    return value
  }

  /// Column of an operand once dates are in parts.
  private func column(of operand: ColumnSource.Operand) -> Int {
    operands.firstIndex { $0.feature == operand.feature && $0.part == operand.part } ?? 0
  }

  /// Table of each column in front of the encoding.
  private func tables(fold: Int?, columns: Int) -> [Lookup.Table?] {
    var tables = [Lookup.Table?](repeating: nil, count: columns)
    for source in sources {
      if case .encoded(let operand, let encoder, place: 0) = source.kind {
        tables[column(of: operand)] = encoder.table(fold: fold)
      }
    }
    return tables
  }

  func affine(keepingCodesOf kept: Set<Int>) -> Affine? {
    guard endsInAffine else { return nil }
    var affine = Affine(scaling: scalingKind, offset: [], scale: [])
    for (index, source) in sources.enumerated() {
      // Indicators are 0 and 1 already, and codes are names.
      let width = kept.contains(index) ? 1 : max(source.indicatorCount, 1)
      affine.offset += [Float](repeating: source.scaling.offset, count: width)
      affine.scale += [Float](repeating: source.scaling.factor, count: width)
    }
    return affine
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
  /// - Parameters:
  ///   - rows: indices into the table; may be empty.
  ///   - kept: indices of sources whose codes stay instead of becoming indicators.
  /// - Returns: one row each, ``columns`` wide unless a code is kept.
  /// - Throws: `TrainingError` for a row that the schema refuses.
  func transform(_ table: Table, rows: [Int], keepingCodesOf kept: Set<Int> = []) throws(TrainingError) -> Matrix {
    let width = columns - kept.reduce(0) { $0 + max(sources[$1].indicatorCount, 1) - 1 }
    guard !rows.isEmpty else { return Matrix(rows: 0, columns: width) }
    var matrix = Matrix(rows: rows.count, columns: width)
    for (fold, places) in byFold(rows) {
      let elements = try run(table, places.map { rows[$0] }, fold: fold, keepingCodesOf: kept)
      guard places.count < rows.count else { return Matrix(rows: rows.count, columns: width, elements: elements) }
      for (index, place) in places.enumerated() {
        for column in 0..<width { matrix[place, column] = elements[index * width + column] }
      }
    }
    return matrix
  }

  /// Places of rows in the list, by the fold whose encoding they get; nil: that of all training rows.
  private func byFold(_ rows: [Int]) -> [(fold: Int?, places: [Int])] {
    let encoder = sources.lazy.compactMap { source -> CategoryEncoder? in
      if case .encoded(_, let encoder, _) = source.kind, !encoder.foldTables.isEmpty { encoder } else { nil }
    }.first
    guard isOutOfFold, let encoder else { return [(nil, Array(rows.indices))] }
    var places = [[Int]](repeating: [], count: encoder.foldTables.count + 1)
    for (place, row) in rows.enumerated() { places[Int(encoder.foldOfRow[row]) + 1].append(place) }
    return places.enumerated().filter { !$0.element.isEmpty }.map { ($0.offset > 0 ? $0.offset - 1 : nil, $0.element) }
  }

  private func run(
    _ table: Table, _ rows: [Int], fold: Int?, keepingCodesOf kept: Set<Int>
  ) throws(TrainingError) -> [Float] {
    var builder = emptyGraph()
    var value = try export(into: &builder, fold: fold, keepingCodesOf: kept)
    // A plan needs a step, and answers in f32.
    if value == 0 || builder.values[value].type.element != .float32 {
      value = try builder.addIdentity(name: "identity", from: value)
    }
    let graph = ModelGraph(
      task: .regression, values: builder.values, nodes: builder.nodes,
      outputs: [.init(name: "features", value: value, kind: .number)], tensors: [], textInput: builder.textInput)
    let runner: RowRunner
    do throws(PlanError) {
      runner = try RowRunner(CompiledModel(ModelDefinition(schema: schema, graph: graph, labels: [])))
    } catch {
      throw TrainingError(error)
    }
    return try runner.run(count: rows.count) { cells(of: table, row: rows[$0], datesAreText: false) }[0]
  }
}
