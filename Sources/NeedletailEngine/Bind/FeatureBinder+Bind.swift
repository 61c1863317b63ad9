public import NeedletailCore

extension FeatureBinder {
  /// Binds some rows of a request; ``extent(of:max:)`` must have passed for the same tensors.
  ///
  /// Allocates only where it throws.
  /// - Parameters:
  ///   - memory: room for `rows.count` rows and the bytes of their texts, which ``size(of:max:)`` says; row
  ///     `rows.lowerBound` comes first.
  ///   - used: bytes of texts that were taken of the memory before, and that are now.
  /// - Throws: `.invalidArgument` naming feature, row, what was expected and what was found; no text was copied then.
  public func bind(
    _ tensors: UnsafeBufferPointer<TensorView>, rows: Range<Int>, into memory: RowMemory, textBytesUsed used: inout Int
  ) throws(ServingError) {
    try bind(tensors, rows: rows, into: memory.items)
    if textCount > 0 { copyTexts(tensors, rows: rows, into: memory, used: &used) }
  }

  /// Binds the columns of some rows, which is all of them for a model without text.
  ///
  /// - Parameter items: room for `rows.count` rows of ``Plan/inputItemBytes``, aligned to their elements; row
  ///   `rows.lowerBound` comes first.
  /// - Throws: `.invalidArgument` naming feature, row, what was expected and what was found.
  public func bind(
    _ tensors: UnsafeBufferPointer<TensorView>, rows: Range<Int>, into items: UnsafeMutableRawPointer
  ) throws(ServingError) {
    if element == .float64 {
      try bind(tensors, rows: rows, to: items.assumingMemoryBound(to: Double.self))
    } else {
      try bind(tensors, rows: rows, to: items.assumingMemoryBound(to: Float.self))
    }
  }

  /// Binds the columns of one row of cells, in schema order, which is all of it for a model without text.
  ///
  /// - Parameters:
  ///   - row: the number that messages name.
  ///   - item: room for one row of ``Plan/inputItemBytes``, aligned to its elements.
  /// - Throws: `.invalidArgument` naming feature, row, what was expected and what was found.
  public func bind(_ cells: [Cell], row: Int = 0, into item: UnsafeMutableRawPointer) throws(ServingError) {
    if element == .float64 {
      try bind(cells, row: row, to: item.assumingMemoryBound(to: Double.self))
    } else {
      try bind(cells, row: row, to: item.assumingMemoryBound(to: Float.self))
    }
  }

  private func bind<Number: BinaryFloatingPoint>(
    _ cells: [Cell], row: Int, to row0: UnsafeMutablePointer<Number>
  ) throws(ServingError) {
    guard cells.count == count else {
      throw .invalidArgument("row \(row): expected \(count) cells, found \(cells.count)")
    }
    for (feature, cell) in cells.enumerated() {
      let column = columns[feature]
      let result: Result<Number, CellFault>
      switch cell {
      case .number(let number): result = column.bind(number: number)
      case .missing: result = column.missing()
      case .text(var text):
        result = text.withUTF8 { column.bind(text: UnsafeRawBufferPointer($0), missingWords: missingWords) }
      }
      switch result {
      case .success(let value): row0[feature] = value
      case .failure(let fault): throw error(fault, feature: feature, row: row, found: cell)
      }
    }
  }

  private func bind<Number: BinaryFloatingPoint & BitwiseCopyable>(
    _ tensors: UnsafeBufferPointer<TensorView>, rows: Range<Int>, to row0: UnsafeMutablePointer<Number>
  ) throws(ServingError) {
    if let tensor = denseTensor(tensors) {
      if tensor.type == .float32 {
        if Number.self == Float.self, copyFinite(tensor, rows: rows, to: row0) { return }
        try bindDenseFloats(tensor, rows: rows, to: row0)
      } else {
        try bindDense(tensor, rows: rows, to: row0)
      }
      return
    }
    for position in 0..<tensors.count {
      let tensor = tensors[position]
      guard let feature = feature(named: tensor.name, hint: position) else { throw unknownInput(tensor.name) }
      let column = columns[feature]
      for row in rows {
        row0[(row - rows.lowerBound) * count + feature] = try bound(tensor, element: row, column, feature, row: row)
      }
    }
  }

  /// The common case on its own: finite fp32 for numeric features is copied as it comes.
  ///
  /// - Parameter row0: fp32 as well.
  /// - Returns: whether nothing is left to look at one by one, as nearly always.
  private func copyFinite(_ tensor: TensorView, rows: Range<Int>, to row0: UnsafeMutableRawPointer) -> Bool {
    guard isNumeric, let data = tensor.data.baseAddress else { return false }
    let elements = rows.count * count
    row0.copyMemory(
      from: data + rows.lowerBound * count * MemoryLayout<Float>.size, byteCount: elements * MemoryLayout<Float>.size)
    return NonFinite.count(UnsafePointer(row0.assumingMemoryBound(to: Float.self)), count: elements) == 0
  }

  private func bindDenseFloats<Number: BinaryFloatingPoint>(
    _ tensor: TensorView, rows: Range<Int>, to row0: UnsafeMutablePointer<Number>
  ) throws(ServingError) {
    for row in rows {
      let to = row0 + (row - rows.lowerBound) * count
      for feature in 0..<count {
        let element = row * count + feature
        let value = tensor.data.loadUnaligned(fromByteOffset: 4 * element, as: Float.self)
        if value.isFinite, columns[feature].isNumeric {
          to[feature] = Number(value)
        } else {
          to[feature] = try bound(tensor, element: element, columns[feature], feature, row: row)
        }
      }
    }
  }

  private func bindDense<Number: BinaryFloatingPoint>(
    _ tensor: TensorView, rows: Range<Int>, to row0: UnsafeMutablePointer<Number>
  ) throws(ServingError) {
    for row in rows {
      let to = row0 + (row - rows.lowerBound) * count
      for feature in 0..<count {
        to[feature] = try bound(tensor, element: row * count + feature, columns[feature], feature, row: row)
      }
    }
  }

  /// One element of a tensor, bound.
  @inline(__always)
  private func bound<Number: BinaryFloatingPoint>(
    _ tensor: TensorView, element: Int, _ column: FeatureColumn, _ feature: Int, row: Int
  ) throws(ServingError) -> Number {
    let result: Result<Number, CellFault> =
      switch tensor.number(at: element) {
      case .success(let number)?: column.bind(number: number)
      case .failure(let fault)?: .failure(fault)
      case nil: column.bind(text: tensor.strings[element], missingWords: missingWords)
      }
    switch result {
    case .success(let value): return value
    case .failure(let fault): throw error(fault, feature: feature, row: row, found: tensor.cell(at: element))
    }
  }
}

extension TensorView {
  /// One element as a number; nil where elements are text. The byte count has been checked.
  @inline(__always)
  fileprivate func number(at element: Int) -> Result<Double, CellFault>? {
    switch type {
    case .float32: .success(Double(load(element, as: Float.self)))
    case .float64: .success(load(element, as: Double.self))
    case .int8: .success(Double(load(element, as: Int8.self)))
    case .int16: .success(Double(Int16(littleEndian: load(element, as: Int16.self))))
    case .int32: .success(Double(Int32(littleEndian: load(element, as: Int32.self))))
    case .int64: .success(Double(Int64(littleEndian: load(element, as: Int64.self))))
    case .uint8: .success(Double(load(element, as: UInt8.self)))
    case .bool:
      switch load(element, as: UInt8.self) {
      case 0: .success(0)
      case 1: .success(1)
      default: .failure(.notABool)
      }
    case .string, nil: nil
    }
  }

  /// One element as a message shows it.
  fileprivate func cell(at element: Int) -> Cell {
    if type == .bool { return .number(Double(load(element, as: UInt8.self))) }
    if case .success(let number)? = number(at: element) { return .number(number) }
    return .text(textForMessage(strings[element]))
  }

  @inline(__always)
  private func load<Element: BitwiseCopyable>(_ element: Int, as type: Element.Type) -> Element {
    data.loadUnaligned(fromByteOffset: element * MemoryLayout<Element>.size, as: type)
  }
}

/// Foreign bytes for a message: the first of them, broken UTF-8 repaired.
func textForMessage(_ bytes: UnsafeRawBufferPointer) -> String {
  String(decoding: bytes.prefix(Limits.featureNameBytesMax), as: UTF8.self)
}

/// The sentences of refusals. Cold: nothing here runs for a request that binds.
extension FeatureBinder {
  /// Names listed in one message.
  private static let listedMax = 5
  /// An edit distance costs length², and a stranger chooses the word.
  private static let suggestionBytesMax = 64
  private static let suggestionCandidatesMax = 256

  @inline(never)
  func input(_ name: UnsafeRawBufferPointer, _ message: String, limit: ErrorDetail.Limit? = nil) -> ServingError {
    let name = textForMessage(name)
    return .invalidArgument("input \(name.quotedForMessage): \(message)", .init(field: name, limit: limit))
  }

  @inline(never)
  func noTensors() -> ServingError {
    .invalidArgument(
      "inputs: expected a tensor \"\(Self.denseName)\" of shape [rows, \(count)], or one tensor for each of \(count) features, found none",
      .init(field: "inputs"))
  }

  @inline(never)
  func unknownInput(_ name: UnsafeRawBufferPointer) -> ServingError {
    if isDenseName(name) { return input(name, "expected no other inputs beside it") }
    let names = schema.features.map(\.name)
    return .invalidArgument(
      "unknown input \(textForMessage(name).quotedForMessage), expected \(list(names, suggestingFor: name))",
      .init(field: textForMessage(name)))
  }

  @inline(never)
  func error(_ fault: CellFault, feature index: Int, row: Int, found cell: Cell) -> ServingError {
    let feature = schema.features[index]
    let found =
      switch cell {
      case .number(let number): "\(number)"
      case .text(let text): text.quotedForMessage
      case .missing: "none"
      }
    var limit: ErrorDetail.Limit?
    let fault =
      switch fault {
      case .missing: "expected a value, found none"
      case .infinite: "expected a finite number, found \(found)"
      case .tooLarge: "expected a number within ±\(Float.greatestFiniteMagnitude), found \(found)"
      case .notANumber: "expected a number, found \(found)"
      case .notADate: "expected \(Self.dateWords(feature)), of the years 1 to 9999, found \(found)"
      case .notAText: "expected text, found \(found)"
      case .textTooLong(let bytes): tooLong(bytes, &limit)
      case .notABool: "expected a BOOL byte of 0 or 1, found \(found.prefix { $0 != "." })"
      case .invalidUTF8: "expected UTF-8 text, found \(found)"
      case .unknownCategory: unknownCategory(cell, of: feature, found: found)
      }
    return .invalidArgument(
      "feature \(feature.name.quotedForMessage), row \(row): \(fault)",
      .init(field: feature.name, row: UInt64(clamping: row), limit: limit))
  }

  private func tooLong(_ bytes: Int, _ limit: inout ErrorDetail.Limit?) -> String {
    limit = .init("text_bytes_max", maximum: UInt64(clamping: textBytesMax), found: UInt64(clamping: bytes))
    return "expected at most \(textBytesMax) bytes of text, found \(bytes)"
  }

  private static func dateWords(_ feature: Feature) -> String {
    if case .datetime(let order) = feature.kind { order.words } else { "a date" }
  }

  private func unknownCategory(_ cell: Cell, of feature: Feature, found: String) -> String {
    guard case .categorical(let categories, _) = feature.kind else { return "unknown category \(found)" }
    guard case .text(var text) = cell else {
      let codes = categories.count + feature.buckets
      return "unknown category code \(found), expected a whole number from 0 to \(codes - 1)"
    }
    let listed = text.withUTF8 { list(categories, suggestingFor: UnsafeRawBufferPointer($0)) }
    return "unknown category \(found), expected \(listed)"
  }

  /// `one of "a", "b" and 7 more, did you mean "b"?`
  private func list(_ names: [String], suggestingFor word: UnsafeRawBufferPointer) -> String {
    let shown = names.prefix(Self.listedMax).map(\.quotedForMessage).joined(separator: ", ")
    let more = names.count > Self.listedMax ? " and \(names.count - Self.listedMax) more" : ""
    let listed = names.count == 1 ? shown : "one of \(shown)\(more)"
    guard word.count <= Self.suggestionBytesMax else { return listed }
    let candidates = names.lazy.filter { $0.utf8.count <= Self.suggestionBytesMax }
    return listed
      + Suggestion.clause(for: textForMessage(word), among: candidates.prefix(Self.suggestionCandidatesMax))
  }

  func describe(_ shape: UnsafeBufferPointer<UInt64>) -> String {
    let sizes = shape.prefix(Limits.tensorRankMax).map { String($0) }.joined(separator: ", ")
    return "[\(sizes)\(shape.count > Limits.tensorRankMax ? ", …" : "")]"
  }
}
