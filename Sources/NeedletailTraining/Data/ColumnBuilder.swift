internal import NeedletailCore

/// Collects one column's cells in the second pass.
struct ColumnBuilder {
  let name: String
  private let type: TableRequest.ColumnType
  private let missing: [[UInt8]]
  private let categoriesMax: Int
  private var numbers: [Double] = []
  private var codes: [Int32] = []
  private var categories: [String] = []
  private var codeByCategory: [String: Int32] = [:]

  init(name: String, type: TableRequest.ColumnType, missing: [[UInt8]], categoriesMax: Int) {
    self.name = name
    self.type = type
    self.missing = missing
    self.categoriesMax = categoriesMax
  }

  mutating func add(_ field: UnsafeBufferPointer<UInt8>, file: String, line: Int) throws(TrainingError) {
    let isMissing = Self.isMissing(field, missing)
    switch type {
    case .categorical:
      guard !isMissing else {
        codes.append(-1)
        return
      }
      let text = String(decoding: field, as: UTF8.self)
      if let code = codeByCategory[text] {
        codes.append(code)
        return
      }
      guard categories.count < categoriesMax else {
        throw .data(
          file: file, line: line, column: name,
          "expected at most \(categoriesMax) categories, found more; if it is an identifier, add it to data.drop")
      }
      let code = Int32(categories.count)
      codeByCategory[text] = code
      categories.append(text)
      codes.append(code)
    case .numeric, .automatic:
      numbers.append(isMissing ? .nan : try number(field, "a number", file: file, line: line))
    case .bool:
      if isMissing {
        numbers.append(.nan)
      } else if let flag = NumberText.parseBool(field) {
        numbers.append(flag ? 1 : 0)
      } else {
        let value = try number(field, "true, false, 1 or 0", file: file, line: line)
        guard value == 0 || value == 1 else { throw expected("true, false, 1 or 0", field, file: file, line: line) }
        numbers.append(value)
      }
    }
  }

  private func number(
    _ field: UnsafeBufferPointer<UInt8>, _ what: String, file: String, line: Int
  ) throws(TrainingError) -> Double {
    guard let value = NumberText.parse(field) else { throw expected(what, field, file: file, line: line) }
    // The engine computes in fp32.
    guard abs(value) <= Double(Float.greatestFiniteMagnitude) else {
      throw expected("a number within ±3.4e38", field, file: file, line: line)
    }
    return value
  }

  private func expected(
    _ what: String, _ field: UnsafeBufferPointer<UInt8>, file: String, line: Int
  ) -> TrainingError {
    .data(
      file: file, line: line, column: name,
      "expected \(what), found \(String(decoding: field, as: UTF8.self).quotedForMessage)")
  }

  func finish() -> Table.Column {
    type == .categorical
      ? Table.Column(name: name, values: .categories(codes: codes, categories: categories))
      : Table.Column(name: name, values: .numbers(numbers))
  }

  /// An empty cell is always missing, for that is how a client says so; the others as configured.
  static func isMissing(_ field: UnsafeBufferPointer<UInt8>, _ tokens: [[UInt8]]) -> Bool {
    let text = NumberText.trimmed(field)
    return text.isEmpty || tokens.contains { $0.count == text.count && $0.elementsEqual(text) }
  }
}
