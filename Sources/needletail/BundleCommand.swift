internal import ArgumentParser
internal import FoundationEssentials
internal import NeedletailBundle
internal import NeedletailCore

/// `needletail bundle …`: works on files, needs no server.
struct BundleCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bundle",
    abstract: "Look into bundle files, verify and sign them.",
    subcommands: [BundleInspect.self, BundleVerify.self, BundleKeygen.self, BundleSign.self])
}

/// What the subcommands print.
enum BundleOutput {
  static func json(_ value: some Encodable) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(value), as: UTF8.self)
  }

  /// Says which file it is that is wrong.
  static func naming<Result>(_ file: String, _ body: () throws(BundleError) -> Result) throws(BundleError) -> Result {
    do throws(BundleError) {
      return try body()
    } catch {
      throw BundleError(error.reason, "\(file): \(error.message)")
    }
  }

  /// Foreign text for a terminal: it moves no cursor and forges no lines.
  static func plain(_ text: String) -> String { text.escapingControls }

  /// `1,234,567`.
  static func grouped(_ number: Int) -> String {
    (number < 0 ? "-" : "") + Wording.grouped(UInt64(number.magnitude))
  }

  /// `1 feature`, `2 features`.
  static func counted(_ number: Int, _ noun: String) -> String {
    "\(grouped(number)) \(noun)\(number == 1 ? "" : "s")"
  }
}

/// Rows of aligned columns under a heading.
struct TextTable {
  enum Alignment {
    case left
    case right
  }

  let columns: [(title: String, alignment: Alignment)]
  var rows: [[String]] = []

  init(_ columns: [(title: String, alignment: Alignment)]) { self.columns = columns }

  /// Lines, indented by two, without trailing spaces.
  func lines() -> [String] {
    let widths = columns.indices.map { column in
      ([columns[column].title] + rows.map { $0[column] }).map(\.count).max() ?? 0
    }
    return ([columns.map(\.title)] + rows).map { row in
      var line = " "
      for (column, text) in row.enumerated() {
        let padding = String(repeating: " ", count: widths[column] - text.count)
        line += " " + (columns[column].alignment == .left ? text + padding : padding + text) + " "
      }
      while line.last == " " { line.removeLast() }
      return line
    }
  }
}
