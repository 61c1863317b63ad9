public import NeedletailCore

/// Turns what a client or a file sends into bound rows: one column per feature, missing as NaN, categories as
/// codes. Rows are f32, or f64 where the model asks for it, so that nothing is rounded on the way.
///
/// A request brings either one tensor `features` of shape `[rows, features]`, of any numeric type
/// (categories as codes) or of text, or one tensor per feature, by name in any order, of shape
/// `[rows]` or `[rows, 1]`. Immutable; anyone may call it. Rows count from 0 in messages.
public final class FeatureBinder: Sendable {
  public let schema: FeatureSchema
  /// Element type of bound rows: `.float32` or `.float64`.
  public let element: ValueType.Element
  /// Bytes of one text at most.
  public let textBytesMax: Int
  /// How many tokens texts may have; nil where a row is one unit.
  let tokenBound: TokenBound?
  /// Number of features that are text.
  let textCount: Int

  /// All four lie in memory that only this object owns, written by its initialiser, read-only until its
  /// end.
  nonisolated(unsafe) let columns: UnsafeMutablePointer<FeatureColumn>
  nonisolated(unsafe) let names: ByteTable
  /// Texts that mean a missing value; nil where the model has no value rules and compares bytes.
  nonisolated(unsafe) let missingWords: ByteTable?
  /// Features that are text, in their order.
  nonisolated(unsafe) let textFeatures: UnsafeMutablePointer<Int>
  /// False where a feature is itself called `features`.
  private let acceptsDense: Bool
  /// Whether bound rows of finite numbers are the numbers that came.
  let isNumeric: Bool

  var count: Int { schema.features.count }

  /// - Parameters:
  ///   - element: type of value 0 of the model's graph.
  ///   - textBytesMax: bytes of one text; a longer one is refused.
  ///   - tokenBound: how many tokens texts may have; nil for a model that does not read text as tokens.
  /// - Throws: what is wrong with the schema, naming the feature, or with the type.
  public init(
    _ schema: FeatureSchema, element: ValueType.Element = .float32, textBytesMax: Int = Limits.textBytesMaxDefault,
    tokenBound: TokenBound? = nil
  ) throws(PlanError) {
    try Self.check(schema)
    guard element == .float32 || element == .float64 else {
      throw PlanError("bound rows: expected f32 or f64, found \(element)")
    }
    // fp32 rounds the seconds of this century to minutes.
    if element == .float32, let date = schema.features.first(where: { $0.kind.isDatetime }) {
      throw PlanError(
        node: date.name, "feature \(date.name.quotedForMessage): expected bound rows of f64 for a date, found f32")
    }
    self.schema = schema
    self.element = element
    names = ByteTable(schema.features.map(\.name))
    missingWords = schema.rules.map { ByteTable($0.missing) }
    self.textBytesMax = textBytesMax
    self.tokenBound = tokenBound
    let texts = schema.features.indices.filter { schema.features[$0].kind == .text }
    textCount = texts.count
    textFeatures = .allocate(capacity: max(1, texts.count))
    for (index, feature) in texts.enumerated() { (textFeatures + index).initialize(to: feature) }
    columns = .allocate(capacity: schema.features.count)
    for (index, feature) in schema.features.enumerated() {
      let text = texts.firstIndex(of: index).map { (index: $0, bytesMax: textBytesMax) }
      (columns + index).initialize(to: FeatureColumn(feature, rules: schema.rules, text: text))
    }
    isNumeric = (0..<schema.features.count).allSatisfy { [columns] in columns[$0].isNumeric }
    acceptsDense = !schema.features.contains { $0.name == Self.denseName }
  }

  deinit {
    for index in 0..<count { columns[index].categories.deallocate() }
    columns.deallocate()
    textFeatures.deallocate()
    names.deallocate()
    missingWords?.deallocate()
  }

  static func check(_ schema: FeatureSchema) throws(PlanError) {
    guard (1...Limits.featuresMax).contains(schema.features.count) else {
      throw PlanError("schema: expected 1 to \(Limits.featuresMax) features, found \(schema.features.count)")
    }
    var names: Set<[UInt8]> = []
    for feature in schema.features {
      func error(_ message: String) -> PlanError {
        PlanError(node: feature.name, "feature \(feature.name.quotedForMessage): \(message)")
      }
      guard (1...Limits.featureNameBytesMax).contains(feature.name.utf8.count) else {
        throw error("expected a name of 1 to \(Limits.featureNameBytesMax) bytes, found \(feature.name.utf8.count)")
      }
      guard names.insert(Array(feature.name.utf8)).inserted else { throw error("named twice") }
      if let fault = feature.bucketFault { throw error(fault) }
      guard case .categorical(let categories, _) = feature.kind else { continue }
      let least = feature.isHashed ? 0 : 1
      guard (least...Limits.categoriesMax).contains(categories.count) else {
        throw error("expected \(least) to \(Limits.categoriesMax) categories, found \(categories.count)")
      }
      guard !categories.contains("") else { throw error("an empty category would read as missing") }
      guard Set(categories.map { Array($0.utf8) }).count == categories.count else {
        throw error("a category is named twice")
      }
    }
    if let fault = schema.ruleFault { throw PlanError("schema: \(fault)") }
  }

  // MARK: - shape of a request

  /// The name of the one tensor that holds all features.
  public static let denseName = "features"
  /// ``denseName`` as a table, for comparison with foreign bytes; read-only, for as long as the process lives.
  nonisolated(unsafe) private static let dense = ByteTable([denseName])

  /// Checks names, types, shapes and byte counts, and returns how much there is to compute: as many units as rows, or
  /// for a model that reads text as tokens as many as its texts have at most.
  ///
  /// Allocates only where it throws, or where more than 8,192 features come out of order.
  /// - Throws: `.invalidArgument` naming the tensor, what was expected and what was found.
  public func extent(
    of tensors: UnsafeBufferPointer<TensorView>, max: BatchExtent
  ) throws(ServingError) -> BatchExtent { try size(of: tensors, max: max).extent }

  /// As ``extent(of:max:)``, with the bytes of all texts of the call, which the same pass over them finds; 0 for a model
  /// without text.
  public func size(
    of tensors: UnsafeBufferPointer<TensorView>, max: BatchExtent
  ) throws(ServingError) -> (extent: BatchExtent, textBytes: Int) {
    let rows = try rows(of: tensors, rowsMax: tokenBound == nil ? min(max.rows, max.units) : max.rows)
    let texts = measureTexts(tensors, rows: 0..<rows)
    return (BatchExtent(rows: rows, units: texts.units), texts.bytes)
  }

  private func rows(of tensors: UnsafeBufferPointer<TensorView>, rowsMax: Int) throws(ServingError) -> Int {
    if let tensor = denseTensor(tensors) { return try denseRows(tensor, rowsMax: rowsMax) }
    guard !tensors.isEmpty else { throw noTensors() }
    var rows: Int?
    var isInOrder = tensors.count == count
    for position in 0..<tensors.count {
      let tensor = tensors[position]
      guard let feature = feature(named: tensor.name, hint: position) else { throw unknownInput(tensor.name) }
      isInOrder = isInOrder && feature == position
      rows = try columnRows(tensor, feature: feature, expected: rows, rowsMax: rowsMax)
    }
    if !isInOrder, let fault = coverageFault(tensors) { throw fault }
    return rows ?? 0
  }

  /// The tensor that holds all features, if that is how they come.
  func denseTensor(_ tensors: UnsafeBufferPointer<TensorView>) -> TensorView? {
    guard acceptsDense, tensors.count == 1, isDenseName(tensors[0].name) else { return nil }
    return tensors[0]
  }

  func isDenseName(_ name: UnsafeRawBufferPointer) -> Bool { Self.dense.matches(name, at: 0) }

  /// - Parameter hint: where it stands if features come in schema order.
  func feature(named name: UnsafeRawBufferPointer, hint: Int) -> Int? {
    if names.matches(name, at: hint) { return hint }
    guard name.count <= Limits.featureNameBytesMax else { return nil }
    if let index = names.index(of: name) { return index }
    guard missingWords != nil else { return nil }
    // Names of a schema with rules are normalised; what a client sends need not be.
    return ValueText.withNormalised(of: name) { names.index(of: $0) } ?? nil
  }

  private func denseRows(_ tensor: TensorView, rowsMax: Int) throws(ServingError) -> Int {
    guard tensor.shape.count == 2 else {
      throw input(tensor.name, "expected shape [rows, \(count)], found \(describe(tensor.shape))")
    }
    guard tensor.shape[1] == UInt64(count) else {
      throw input(tensor.name, "expected \(count) columns, found \(tensor.shape[1])")
    }
    let rows = try checkedRows(tensor, rowsMax: rowsMax)
    try checkElements(tensor, rows: rows, columns: count)
    return rows
  }

  private func columnRows(_ tensor: TensorView, feature: Int, expected: Int?, rowsMax: Int) throws(ServingError) -> Int
  {
    guard tensor.shape.count == 1 || (tensor.shape.count == 2 && tensor.shape[1] == 1) else {
      throw input(tensor.name, "expected shape [rows] or [rows, 1], found \(describe(tensor.shape))")
    }
    if let expected, tensor.shape[0] != UInt64(expected) {
      throw input(tensor.name, "expected \(expected) rows, found \(tensor.shape[0])")
    }
    let rows = try checkedRows(tensor, rowsMax: rowsMax)
    if columns[feature].isCategorical || columns[feature].isText, let type = tensor.type, type != .string {
      let kind = columns[feature].isText ? "text" : "categorical"
      throw input(tensor.name, "expected type STRING for a \(kind) feature, found \(type)")
    }
    try checkElements(tensor, rows: rows, columns: 1)
    return rows
  }

  private func checkedRows(_ tensor: TensorView, rowsMax: Int) throws(ServingError) -> Int {
    let rows = tensor.shape[0]
    guard rows > 0 else { throw input(tensor.name, "expected at least 1 row, found 0") }
    guard let rowsMax = UInt64(exactly: rowsMax), rows <= rowsMax else {
      throw input(
        tensor.name, "expected at most \(rowsMax) rows, found \(rows)",
        limit: .init("rows_max", maximum: UInt64(clamping: rowsMax), found: rows))
    }
    return Int(rows)
  }

  /// Checks that the tensor has as many elements as its shape says, in the field that belongs to its type.
  private func checkElements(_ tensor: TensorView, rows: Int, columns: Int) throws(ServingError) {
    guard let type = tensor.type else { throw input(tensor.name, "expected a known data type, found none") }
    let (elements, overflow) = rows.multipliedReportingOverflow(by: columns)
    let (bytes, bytesOverflow) = elements.multipliedReportingOverflow(by: type.elementBytes)
    guard !overflow, !bytesOverflow else { throw input(tensor.name, "shape \(describe(tensor.shape)) overflows") }
    guard tensor.data.count == bytes else {
      throw input(
        tensor.name, "expected \(bytes) bytes for \(type) \(describe(tensor.shape)), found \(tensor.data.count)")
    }
    let strings = type == .string ? elements : 0
    guard tensor.strings.count == strings else {
      throw input(
        tensor.name, "expected \(strings) strings for \(type) \(describe(tensor.shape)), found \(tensor.strings.count)")
    }
  }

  /// The first feature that comes twice or not at all.
  private func coverageFault(_ tensors: UnsafeBufferPointer<TensorView>) -> ServingError? {
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: (count + 7) / 8) { seen in
      seen.initialize(repeating: 0)
      for position in 0..<tensors.count {
        guard let feature = feature(named: tensors[position].name, hint: position) else { continue }
        let bit = UInt8(1) << UInt8(feature % 8)
        if seen[feature / 8] & bit != 0 { return input(tensors[position].name, "expected it once, found it again") }
        seen[feature / 8] |= bit
      }
      for feature in 0..<count where seen[feature / 8] & (1 << UInt8(feature % 8)) == 0 {
        let name = schema.features[feature].name
        return .invalidArgument("input \(name.quotedForMessage): expected a tensor, found none", .init(field: name))
      }
      return nil
    }
  }
}
