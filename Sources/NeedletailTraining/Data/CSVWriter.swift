internal import NeedletailCore

/// CSV text, RFC 4180: quoted only where needed, LF line ends.
struct CSVWriter {
  private(set) var text = ""
  private var isFirstInRow = true
  /// True while the row holds nothing, or one empty field: written as such it would be a blank line.
  private var isBlank = true

  mutating func add(_ field: String) {
    if !isFirstInRow { text += "," }
    isBlank = isFirstInRow && field.isEmpty
    isFirstInRow = false
    if field.utf8.contains(where: { $0 == 0x2C || $0 == 0x22 || $0 == 0x0A || $0 == 0x0D })
      || field.utf8.first == 0x20 || field.utf8.last == 0x20
    {
      text += "\"" + field.split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\"\"") + "\""
    } else {
      text += field
    }
  }

  /// The shortest text that reads back as the same Float.
  mutating func add(_ number: Float) { add("\(number)") }

  /// The shortest text that reads back as the same Double; whole numbers without a point.
  mutating func add(_ number: Double) {
    if let whole = Int(exactly: number), abs(whole) < 1 << 53 {
      add(String(whole))
    } else {
      add("\(number)")
    }
  }

  mutating func add(_ cell: Cell) {
    switch cell {
    case .number(let number): add(number)
    case .text(let text): add(text)
    case .missing: add("")
    }
  }

  mutating func endRow() {
    text += isBlank ? "\"\"\n" : "\n"
    isFirstInRow = true
  }
}
