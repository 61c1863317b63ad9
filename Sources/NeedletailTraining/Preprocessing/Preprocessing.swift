public import NeedletailCore
internal import NeedletailEngine

/// Steps from a raw row to the numbers that a family learns from.
///
/// Columns of text become terms, which stand beside the row: they are too many to be written.
///
/// It is fitted on the training rows only and then becomes the first nodes of the model's graph, each only where it has
/// something to do: flags of missing values, impute, parts of dates, products and crosses, tables of categories, curves,
/// one-hot, scale. The trainer runs these nodes on the engine, as the server will.
public struct Preprocessing: Sendable {
  public let schema: FeatureSchema
  /// Width of the preprocessed row.
  public let columns: Int
  /// One a feature, in schema order.
  let columnFits: [ColumnFit]
  /// One a column of text, in schema order: their terms are no part of the preprocessed row.
  let texts: [TextFit]
  /// Element type that features are bound as. It is f64 where the family asks for it, and where a column that is
  /// scaled would lose digits in f32.
  let element: ValueType.Element
  /// What each column holds before categories become indicators, in order.
  private(set) var sources: [ColumnSource]
  /// Sentences for people about columns that are treated in a way they may not expect.
  let warnings: [String]
  /// True where training rows are encoded without their own targets: for what a family learns from.
  private(set) var isOutOfFold = false
  /// Features, dates in parts, in the order of the graph.
  let operands: [ColumnSource.Operand]
  /// True where the last node brings numbers to a scale, or only to f32.
  let endsInAffine: Bool

  /// - Parameters:
  ///   - features: all rows; only `rows` are looked at, except to tell whether values are missing.
  ///   - rows: the training split.
  ///   - target: name of the predicted column.
  ///   - targets: of all rows; nil where no category may be encoded by them.
  /// - Throws: `TrainingError` where a policy does not fit its column, or there are too many columns.
  public init(
    features: Table, rows: [Int], target: String, configuration: RunConfiguration
  ) throws(TrainingError) {
    try self.init(features: features, rows: rows, target: target, targets: nil, configuration: configuration)
  }

  init(
    features: Table, rows: [Int], target: String, targets: EncodingTargets?, configuration: RunConfiguration
  ) throws(TrainingError) {
    let encodesTargets = targets.map { $0.classCount <= Limits.targetClassesMax } ?? false
    var fits: [ColumnFit] = []
    for column in features.columns {
      fits.append(
        try ColumnFit(
          column, rows: rows, policy: configuration.policy(for: column.name), configuration,
          encodesTargets: encodesTargets))
    }
    try Self.checkGaps(fits, configuration)
    var texts: [TextFit] = []
    let request = configuration.family.preprocessing
    for (index, column) in features.columns.enumerated() where column.isText && request.texts == .terms {
      texts.append(try TextFit(column, feature: index, index: texts.count, rows: rows, configuration))
    }
    self.texts = texts
    if request.texts == .whole, configuration.isSet(TextSettings.section) {
      throw .configuration(
        configuration.location(of: TextSettings.section),
        "text: expected no such section with \(configuration.family.name), which reads texts by its own tokenizer, found "
          + "one")
    }
    columnFits = fits
    operands = ColumnSource.operands(features, rows: rows, fits: fits, configuration)
    var sources = try Self.sources(operands, features, rows, targets, configuration)
    schema = FeatureSchema(features: fits.map(\.feature), target: target, rules: configuration.request.rules)
    columns = sources.reduce(0) { $0 + max($1.indicatorCount, 1) }
    guard columns <= Limits.columnsMax else {
      throw TrainingError(
        .data, "features: expected at most \(Limits.columnsMax) columns after one-hot encoding, found \(columns)")
    }
    let hasDates = operands.contains { $0.part != nil }
    let scalings = sources.map { source in
      request.numbers == .scaled && source.isNumber ? Self.scaling(of: source, configuration) : .none
    }
    let notes = fits.compactMap(\.note) + texts.map(\.note)
    guard scalings.contains(where: { $0 != .none }) else {
      element = hasDates ? .float64 : request.element
      // Dates come in f64, and a family of f32 gets them rounded.
      endsInAffine = element != request.element
      warnings = notes + (request.element == .float64 ? [] : Self.mergedNumbers(features, rows: rows, sources))
      self.sources = sources
      return
    }
    let numbers = sources.map { $0.isNumber ? $0.numbers(features, rows) : [] }
    let losesDigits = zip(sources, numbers).contains { source, numbers in
      source.isNumber && !numbers.isEmpty && ColumnSpread.losesDigits(numbers)
    }
    element = hasDates || losesDigits ? .float64 : request.element
    var faults: [String] = []
    for (index, scaling) in scalings.enumerated() where scaling != .none {
      let own = numbers[index]
      // The numbers as the engine will see them, in its element type.
      let scaled = NumberScaling(own, asSeen: element == .float64 ? own : own.map { Double(Float($0)) }, scaling)
      sources[index].scaling = scaled
      if scaled.isBelowF32 {
        faults.append(
          "column \(sources[index].name.quotedForMessage): expected numbers that differ by more than 3e-39, the least "
            + "that fp32 can scale, found less: the column counts as constant; use logarithms, or a larger unit")
      }
    }
    warnings = notes + faults
    endsInAffine = true
    self.sources = sources
    scalingKind = Self.kind(scalings.enumerated().filter { sources[$0.offset].isNumber }.map(\.element))
  }

  /// What the offsets and factors are, for people and for explanations.
  private(set) var scalingKind = Affine.Scaling.standardise

  private static func kind(_ scalings: [RunConfiguration.Scaling]) -> Affine.Scaling {
    if scalings.allSatisfy({ [.standardise, .power, .log].contains($0) }) { return .standardise }
    return scalings.allSatisfy { $0 == .minMax } ? .minMax : .robust
  }

  /// Columns of the preprocessed row that hold the indicators of a category, for each that has some.
  var indicatorColumns: [Range<Int>] {
    var first = 0
    return sources.compactMap { source in
      defer { first += max(source.indicatorCount, 1) }
      return source.indicatorCount > 0 ? first..<(first + source.indicatorCount) : nil
    }
  }

  /// Scaling of all columns; nil where nothing is scaled.
  var affine: Affine? { affine(keepingCodesOf: []) }

  /// The same for what a family learns from: training rows do not see their own targets.
  var forTraining: Preprocessing {
    var copy = self
    copy.isOutOfFold = true
    return copy
  }

  /// True where categories are encoded by the targets.
  var encodesTargets: Bool {
    sources.contains { if case .encoded(_, let encoder, _) = $0.kind { !encoder.foldTables.isEmpty } else { false } }
  }

  // MARK: - fitting

  /// One node fills in gaps, and it leaves none.
  private static func checkGaps(_ fits: [ColumnFit], _ configuration: RunConfiguration) throws(TrainingError) {
    guard let kept = fits.first(where: { $0.missing == .keep }), let filled = fits.first(where: \.fills) else {
      return
    }
    let path = "features.columns.\(filled.feature.name).missing"
    throw .configuration(
      configuration.location(of: path),
      "\(path): expected keep or refuse, because \(kept.feature.name.quotedForMessage) keeps its missing values, "
        + "found \(filled.missing.rawValue)")
  }

  private static func sources(
    _ operands: [ColumnSource.Operand], _ table: Table, _ rows: [Int], _ targets: EncodingTargets?,
    _ configuration: RunConfiguration
  ) throws(TrainingError) -> [ColumnSource] {
    let isOneHot = configuration.family.preprocessing.categories == .oneHot
    let encoders = try encoders(operands, table, rows, targets, configuration)
    var sources: [ColumnSource] = []
    for (operand, encoder) in zip(operands, encoders) {
      if let encoder {
        sources += (0..<encoder.width).map {
          ColumnSource(kind: .encoded(operand, encoder, place: $0), form: .number)
        }
      } else if operand.isNumber || operand.fit.encoding == .ordinal {
        sources.append(ColumnSource(kind: .plain(operand), form: .number))
      } else {
        let count = operand.fit.codeCount
        sources.append(ColumnSource(kind: .plain(operand), form: isOneHot ? .indicators(count) : .code(count)))
      }
    }
    // One flag a feature, however many parts a date has.
    var flagged: Set<Int> = []
    for operand in operands where operand.fit.hasGaps && !flagged.contains(operand.feature) {
      guard configuration.policy(for: operand.fit.feature.name).flagsMissing else { continue }
      flagged.insert(operand.feature)
      sources.append(
        ColumnSource(kind: .flag(.init(feature: operand.feature, fit: operand.fit, part: nil)), form: .number))
    }
    return sources + (try ColumnSource.interactions(operands, configuration))
  }

  /// Encoder of each operand that has one.
  private static func encoders(
    _ operands: [ColumnSource.Operand], _ table: Table, _ rows: [Int], _ targets: EncodingTargets?,
    _ configuration: RunConfiguration
  ) throws(TrainingError) -> [CategoryEncoder?] {
    var foldOfRow: [Int32]?
    var encoders: [CategoryEncoder?] = []
    for operand in operands {
      switch operand.fit.encoding {
      case .target:
        guard let targets else {
          throw .fit("encoding target: expected the targets of the rows, found none")
        }
        let folds: [Int32]
        if let foldOfRow {
          folds = foldOfRow
        } else {
          folds = try CategoryEncoder.foldOfRow(rows, of: table.rowCount, targets)
        }
        foldOfRow = folds
        encoders.append(
          .target(
            codes: rows.map { operand.value(table, row: $0) }, rows: rows, categories: operand.fit.codeCount, targets,
            smoothing: configuration.document["features"]["smoothing"].number, foldOfRow: folds))
      case .frequency:
        encoders.append(
          .frequency(codes: rows.map { operand.value(table, row: $0) }, categories: operand.fit.codeCount))
      default: encoders.append(nil)
      }
    }
    return encoders
  }

  /// The same with categories encoded by the targets of other training rows; all else stays as it was fitted, so that
  /// models of several folds have one schema.
  func encodingAgain(
    _ table: Table, rows: [Int], _ targets: EncodingTargets, _ configuration: RunConfiguration
  ) throws(TrainingError) -> Preprocessing {
    guard encodesTargets else { return self }
    let encoders = try Self.encoders(operands, table, rows, targets, configuration)
    var copy = self
    copy.sources = sources.map { source in
      guard case .encoded(let operand, _, let place) = source.kind,
        let index = operands.firstIndex(where: { $0.feature == operand.feature && $0.part == operand.part }),
        let encoder = encoders[index]
      else { return source }
      return ColumnSource(
        kind: .encoded(operand, encoder, place: place), form: source.form, scaling: source.scaling)
    }
    return copy
  }

  /// Scaling of a column of numbers; 0 and 1 of a flag are brought to a scale as all numbers are, but need no curve.
  private static func scaling(
    of source: ColumnSource, _ configuration: RunConfiguration
  ) -> RunConfiguration.Scaling {
    switch source.kind {
    case .plain(let operand): return configuration.scaling(of: operand.fit.feature.name)
    case .encoded(let operand, _, _): return simple(configuration.scaling(of: operand.fit.feature.name))
    case .flag(let operand): return simple(configuration.scaling(of: operand.fit.feature.name))
    case .product: return configuration.scaling
    case .cross: return .none
    }
  }

  private static func simple(_ scaling: RunConfiguration.Scaling) -> RunConfiguration.Scaling {
    switch scaling {
    case .power, .log, .quantileNormal: .standardise
    case .quantileUniform: .minMax
    default: scaling
    }
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
}
