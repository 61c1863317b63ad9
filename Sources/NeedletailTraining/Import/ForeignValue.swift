internal import NeedletailCore

/// A value of a foreign model file, as JSON and Universal Binary JSON have them.
///
/// A list of nothing but numbers is kept as ``numbers(_:)``: model files consist of little else, and a case of this
/// type for each number would take four times the memory.
enum ForeignValue: Sendable {
  case null
  case boolean(Bool)
  case number(Double)
  case text(String)
  case numbers([Double])
  case list([ForeignValue])
  case object([ForeignKey: ForeignValue])

  var kind: String {
    switch self {
    case .null: "null"
    case .boolean: "a truth value"
    case .number: "a number"
    case .text: "text"
    case .numbers: "a list of numbers"
    case .list: "a list"
    case .object: "an object"
    }
  }
}

/// A key of an object. Two keys are equal only if their bytes are; Swift's texts would be equal wherever Unicode holds
/// them so, but a vocabulary has é both as one character and as two.
struct ForeignKey: Hashable, Sendable {
  let text: String

  init(_ text: String) { self.text = text }

  static func == (a: ForeignKey, b: ForeignKey) -> Bool { a.text.utf8.elementsEqual(b.text.utf8) }

  func hash(into hasher: inout Hasher) {
    var text = text
    text.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
  }
}

/// A value together with its place in the file, so that whoever expects something else of it can say where.
struct ForeignField {
  let value: ForeignValue
  /// Keys and indices that lead to the value: `learner.gradient_booster.model.trees[17]`.
  let path: String

  func fault(_ expected: String, found: String? = nil) -> TrainingError {
    .importing("\(path.isEmpty ? "the document" : path): expected \(expected), found \(found ?? value.kind)")
  }

  /// The field under a key; nil where the object has none, or null.
  func optional(_ key: String) throws(TrainingError) -> ForeignField? {
    guard case .object(let fields) = value else { throw fault("an object") }
    guard let field = fields[ForeignKey(key)] else { return nil }
    if case .null = field { return nil }
    return ForeignField(value: field, path: path.isEmpty ? key : "\(path).\(key)")
  }

  /// The field under the first of several keys that the object has; nil where it has none of them.
  func optional(anyOf keys: String...) throws(TrainingError) -> ForeignField? {
    for key in keys {
      if let field = try optional(key) { return field }
    }
    return nil
  }

  func required(_ key: String) throws(TrainingError) -> ForeignField {
    guard let field = try optional(key) else {
      throw fault("an object with \(key.quotedForMessage)", found: "none of that name")
    }
    return field
  }

  /// The field at the end of several keys.
  func required(_ keys: String...) throws(TrainingError) -> ForeignField {
    var field = self
    for key in keys { field = try field.required(key) }
    return field
  }

  /// Whether the object has a key, of whatever value.
  func has(_ key: String) -> Bool {
    if case .object(let fields) = value { fields[ForeignKey(key)] != nil } else { false }
  }

  /// The keys of an object with their fields, in no order.
  var fields: [(key: String, field: ForeignField)] {
    get throws(TrainingError) {
      guard case .object(let fields) = value else { throw fault("an object") }
      return fields.map { key, value in
        (key.text, ForeignField(value: value, path: path.isEmpty ? key.text : "\(path).\(key.text)"))
      }
    }
  }

  var boolean: Bool {
    get throws(TrainingError) {
      guard case .boolean(let flag) = value else { throw fault("true or false") }
      return flag
    }
  }

  var text: String {
    get throws(TrainingError) {
      guard case .text(let text) = value else { throw fault("text") }
      return text
    }
  }

  /// A number, or text that is one: XGBoost writes its parameters as text.
  var number: Double {
    get throws(TrainingError) {
      switch value {
      case .number(let number): return number
      case .boolean(let flag): return flag ? 1 : 0
      case .text(let text):
        guard let number = NumberText.parse(text) else { throw fault("a number", found: text.quotedForMessage) }
        return number
      default: throw fault("a number")
      }
    }
  }

  /// A whole number within bounds, or text that is one.
  func integer(in range: ClosedRange<Int>) throws(TrainingError) -> Int {
    let number = try number
    guard let integer = Int(exactly: number), range.contains(integer) else {
      throw fault("a whole number from \(range.lowerBound) to \(range.upperBound)", found: "\(number)")
    }
    return integer
  }

  /// A list of numbers. Truth values among them count as 0 and 1.
  ///
  /// - Parameter count: number of elements that it must have; nil allows any.
  func numbers(count: Int? = nil) throws(TrainingError) -> [Double] {
    let numbers: [Double]
    switch value {
    case .numbers(let found): numbers = found
    case .list(let elements):
      var found: [Double] = []
      found.reserveCapacity(elements.count)
      for (index, element) in elements.enumerated() {
        found.append(try ForeignField(value: element, path: "\(path)[\(index)]").number)
      }
      numbers = found
    default: throw fault("a list of numbers")
    }
    if let count, numbers.count != count { throw fault("\(count) numbers", found: "\(numbers.count)") }
    return numbers
  }

  /// A list of whole numbers within bounds.
  func integers(in range: ClosedRange<Int>, count: Int? = nil) throws(TrainingError) -> [Int] {
    let numbers = try numbers(count: count)
    var integers: [Int] = []
    integers.reserveCapacity(numbers.count)
    for (index, number) in numbers.enumerated() {
      guard let integer = Int(exactly: number), range.contains(integer) else {
        throw TrainingError.importing(
          "\(path)[\(index)]: expected a whole number from \(range.lowerBound) to \(range.upperBound), found \(number)")
      }
      integers.append(integer)
    }
    return integers
  }

  /// A list of texts.
  var texts: [String] {
    get throws(TrainingError) {
      var texts: [String] = []
      for field in try elements { texts.append(try field.text) }
      return texts
    }
  }

  /// The elements of a list of any kind.
  var elements: [ForeignField] {
    get throws(TrainingError) {
      switch value {
      case .list(let elements):
        elements.indices.map { ForeignField(value: elements[$0], path: "\(path)[\($0)]") }
      case .numbers(let numbers):
        numbers.indices.map { ForeignField(value: .number(numbers[$0]), path: "\(path)[\($0)]") }
      default: throw fault("a list")
      }
    }
  }
}

extension TrainingError {
  /// A fault of a foreign model file.
  static func importing(_ message: String) -> TrainingError { TrainingError(.data, message) }
}

/// Collects the elements of a list, as numbers for as long as all of them are.
struct ForeignList {
  private var numbers: [Double] = []
  private var values: [ForeignValue] = []

  mutating func append(_ value: ForeignValue) {
    if values.isEmpty {
      if case .number(let number) = value {
        numbers.append(number)
        return
      }
      values = numbers.map { .number($0) }
      numbers = []
    }
    values.append(value)
  }

  /// An empty list counts as one of numbers.
  var value: ForeignValue { values.isEmpty ? .numbers(numbers) : .list(values) }
}
