internal import Foundation

/// Aligned columns for a terminal. Colours only where standard output is one and NO_COLOR is unset.
struct TerminalTable {
  enum Alignment { case left, right }

  enum Style: String {
    case plain = ""
    case good = "32"
    case bad = "31"
    case faint = "2"
  }

  private let header: [String]
  private let alignments: [Alignment]
  private var rows: [[(text: String, style: Style)]] = []

  static let isColoured =
    isatty(STDOUT_FILENO) == 1 && ProcessInfo.processInfo.environment["NO_COLOR"] == nil

  init(_ columns: [(name: String, alignment: Alignment)]) {
    header = columns.map(\.name)
    alignments = columns.map(\.alignment)
  }

  mutating func append(_ cells: [(text: String, style: Style)]) {
    rows.append(cells)
  }

  mutating func append(_ cells: [String]) {
    append(cells.map { ($0, .plain) })
  }

  func print() {
    var widths = header.map(\.count)
    for row in rows {
      for (column, cell) in row.enumerated() { widths[column] = max(widths[column], cell.text.count) }
    }
    Swift.print(line(header.map { ($0, .faint) }, widths: widths))
    for row in rows { Swift.print(line(row, widths: widths)) }
  }

  private func line(_ cells: [(text: String, style: Style)], widths: [Int]) -> String {
    var line = ""
    for (column, cell) in cells.enumerated() {
      let padding = String(repeating: " ", count: widths[column] - cell.text.count)
      let isLast = column == cells.count - 1
      let text = Self.styled(cell.text, cell.style)
      line += alignments[column] == .right ? padding + text : text + (isLast ? "" : padding)
      if !isLast { line += "  " }
    }
    return line
  }

  static func styled(_ text: String, _ style: Style) -> String {
    isColoured && style != .plain ? "\u{1b}[\(style.rawValue)m\(text)\u{1b}[0m" : text
  }
}

/// One line on standard error.
func notice(_ text: String) {
  FileHandle.standardError.write(Data("needletail: \(text)\n".utf8))
}

/// A value as one line of JSON, keys in order.
/// - Parameter keys: reports are named in snake case, a model's outputs as the model names them.
func printJSON(_ value: some Encodable, keys: JSONEncoder.KeyEncodingStrategy = .convertToSnakeCase) throws {
  let encoder = JSONEncoder()
  encoder.keyEncodingStrategy = keys
  encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
  encoder.nonConformingFloatEncodingStrategy = .convertToString(
    positiveInfinity: "Infinity", negativeInfinity: "-Infinity", nan: "NaN")
  print(String(decoding: try encoder.encode(value), as: UTF8.self))
}
