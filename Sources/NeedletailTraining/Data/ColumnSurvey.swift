internal import NeedletailCore

/// What the first pass over the files learns about one column.
struct ColumnSurvey {
  let name: String
  private var numbers = 0
  private var bools = 0
  private var texts = 0
  private var firstText: (file: String, line: Int, text: String)?
  /// Different whole numbers, until there are too many to be classes.
  private var wholeNumbers: Set<Int> = []
  private var isWhole = true

  static let classesMax = 20

  init(name: String) { self.name = name }

  mutating func add(_ field: UnsafeBufferPointer<UInt8>, file: String, line: Int) {
    if let number = NumberText.parse(field) {
      numbers += 1
      guard isWhole else { return }
      if number == number.rounded(), abs(number) < 1e9, wholeNumbers.count <= Self.classesMax {
        wholeNumbers.insert(Int(number))
      } else {
        isWhole = false
      }
    } else if NumberText.parseBool(field) != nil {
      bools += 1
    } else {
      texts += 1
      if firstText == nil { firstText = (file, line, String(decoding: field, as: UTF8.self)) }
    }
  }

  /// - Throws: where the column is neither clearly numbers nor clearly text, or has no value at all.
  func inferredType() throws(TrainingError) -> TableRequest.ColumnType {
    let count = numbers + bools + texts
    guard count > 0 else {
      throw TrainingError(
        .data,
        "column \(name.quotedForMessage): expected at least one value, found only missing ones; add it to data.drop")
    }
    if numbers == count { return .numeric }
    if bools == count { return .bool }
    if let firstText, numbers * 10 >= count * 9 {
      throw .data(
        file: firstText.file, line: firstText.line, column: name,
        "expected a number as in \(numbers) of \(count) values, found \(firstText.text.quotedForMessage); "
          + "correct it, add it to data.missing, or declare the column categorical")
    }
    return .categorical
  }

  /// True where the values read like class labels rather than quantities.
  var looksLikeClasses: Bool {
    numbers == 0 || texts > 0 || (isWhole && bools == 0 && wholeNumbers.count <= Self.classesMax)
  }
}
