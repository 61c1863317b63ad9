public import NeedletailCSV
internal import NeedletailCore

/// A commented run file for a CSV file that has none yet.
public struct StarterConfiguration {
  private let fileName: String
  private let delimiter: CSVDelimiter
  private let dataset: Dataset
  private let family: any ModelFamily

  /// - Parameters:
  ///   - name: the CSV file's name in the run file.
  ///   - path: its path now.
  ///   - delimiter: between the fields of the file.
  ///   - target: column to predict; nil chooses the last one.
  ///   - family: name of a family; nil chooses a linear model for numbers, a logistic one for classes.
  /// - Throws: `TrainingError` that says what is wrong with the file, the target or the family.
  public init(
    name: String, path: String, delimiter: CSVDelimiter = .comma, target: String?, family: String?
  ) throws(TrainingError) {
    let header = try CSVFile(name: name, path: path, delimiter: delimiter).readHeader()
    let request = TableRequest(
      files: [(name, path)], target: target ?? header[header.count - 1], delimiter: delimiter,
      location: { $0 == "target.column" ? "--target" : "init" })
    dataset = try TableReader(request).read()
    fileName = name
    self.delimiter = delimiter
    let isNumber = if case .numbers = dataset.target.values { true } else { false }
    let wanted = family ?? (isNumber ? "linear_regression" : "logistic_regression")
    let names = FamilyRegistry.all.names
    guard let found = FamilyRegistry.all.named(wanted) else {
      throw .configuration(
        "--family",
        "expected \(names.joined(separator: " | ")), found \(wanted.quotedForMessage)"
          + Suggestion.clause(for: wanted, among: names))
    }
    self.family = found
  }

  /// Sentences about values of the file that were read in a way that the user may not expect.
  public var warnings: [String] { dataset.warnings }

  /// Text of the run file: required keys, columns as they were found, and every other key as a comment with its
  /// default.
  public var yaml: String {
    var text = "# A training run for Needletail: needletail-trainer train THIS_FILE\n"
    text += "# \(Figures.count(dataset.rowsRead)) rows; a line that starts with # shows a default.\n"
    for section in RunSettings.all(family: family, among: FamilyRegistry.all) {
      guard case .section(let settings) = section.kind else { continue }
      text += "\n# \(section.summary)\n\(section.key):\n"
      for setting in settings { text += lines(setting, in: section.key) }
    }
    return text
  }

  private func lines(_ setting: Setting, in section: String) -> String {
    let path = "\(section).\(setting.key)"
    let comment = "  # \(setting.summary)\n"
    switch path {
    case "data.files": return comment + "  files: " + Document.list([.text(fileName)]).inlineYAML + "\n"
    case "data.delimiter" where delimiter != .comma: return comment + "  delimiter: \(delimiter.rawValue)\n"
    case "target.column": return comment + "  column: " + Document.text(dataset.target.name).inlineYAML + "\n"
    case "model.family":
      return "  # \(FamilyRegistry.all.names.joined(separator: " | "))\n  family: \(family.name)\n"
    case "features.columns": return comment + columns
    case "features.missing" where hasMissing: return comment + "  missing: median\n"
    default: return comment + "  # \(setting.key): \(setting.fallback == .null ? "" : setting.fallback.inlineYAML)\n"
    }
  }

  private var hasMissing: Bool {
    dataset.features.columns.contains { column in (0..<column.count).contains { column.isMissing($0) } }
  }

  private var columns: String {
    var text = "  columns:\n"
    for (column, type) in zip(dataset.features.columns, dataset.types) {
      let missing = (0..<column.count).count { column.isMissing($0) }
      var note = ""
      if case .categories(_, let categories) = column.values { note = "\(categories.count) categories" }
      if missing > 0 { note += (note.isEmpty ? "" : ", ") + "\(Figures.count(missing)) missing" }
      text += "    " + Document.text(column.name).inlineYAML + ": { type: \(type.rawValue) }"
      text += note.isEmpty ? "\n" : "  # \(note)\n"
    }
    return text
  }
}

extension Document {
  /// The value on one line, as it stands after a colon.
  var inlineYAML: String {
    switch self {
    case .list(let elements): "[" + elements.map(\.inlineYAML).joined(separator: ", ") + "]"
    case .text(let text) where text.contains(where: { !$0.isLetter && !$0.isNumber && !"_-./ ".contains($0) }),
      .text(let text) where !Document.isPlainText(text) || text.contains(" "):
      Document.text(text).json.split(separator: "\n").joined()
    case .section, .null: ""
    case .flag(let value): value ? "true" : "false"
    case .integer(let value): String(value)
    case .number(let value): "\(value)"
    case .text(let text): text
    }
  }
}
