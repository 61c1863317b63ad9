public import NeedletailCSV
internal import NeedletailCore

/// A commented run file for a table that has none yet. It always trains, as far as settings can see to it: columns that
/// no model could learn from are left out, with the reason.
public struct StarterConfiguration {
  private let fileName: String
  private let target: String
  private let proposal: TableProposal
  private let family: any ModelFamily
  /// True where the target is a quantity.
  private let isNumber: Bool

  /// Rows from which boosted trees are proposed. On twelve public tables they were better than a linear model on all with
  /// more rows but one, where they lost two hundredths, and worse on the one with fewer.
  static let treeRowsMin = 1000

  /// - Parameters:
  ///   - name: the file's name in the run file.
  ///   - path: its path now.
  ///   - delimiter: between the fields of the file; nil: as the file tells.
  ///   - target: column to predict; nil chooses the last one.
  ///   - family: name of a family; nil chooses ``TextLinear`` for text alone, else boosted trees from ``treeRowsMin`` rows on, else a linear model for numbers, a logistic
  ///     one for classes.
  /// - Throws: `TrainingError` that says what is wrong with the file, the target or the family.
  public init(
    name: String, path: String, delimiter: CSVDelimiter? = nil, target: String?, family: String?
  ) throws(TrainingError) {
    let (findings, file) = try TableProposal.findings(name: name, path: path, delimiter: delimiter)
    let names = findings.map(\.name)
    let wanted = target.map { ValueText.normalised($0) } ?? names.last { !$0.isEmpty } ?? ""
    guard let column = findings.first(where: { $0.name == wanted && !wanted.isEmpty }) else {
      throw .configuration(
        "--target",
        "target.column: expected a column of \(name), found \(wanted.quotedForMessage)"
          + Suggestion.clause(for: wanted, among: names))
    }
    guard names.count(where: { !$0.isEmpty }) > 1 else {
      throw .configuration("init", "data: expected at least one feature column beside the target, found none")
    }
    guard column.present > 0 else {
      throw TrainingError(
        .data, "column \(wanted.quotedForMessage): expected target values, found only missing ones")
    }
    self.target = wanted
    var proposal = TableProposal(findings, file: file, target: wanted)
    fileName = name
    isNumber = proposal.column(wanted)?.reading.type == .numeric && !column.looksLikeClasses
    let linear = isNumber ? "linear_regression" : "logistic_regression"
    let plain = proposal.rows >= Self.treeRowsMin ? "gbdt" : linear
    let chosen = family ?? (proposal.hasOnlyTexts(beside: wanted) ? "text_linear" : plain)
    let families = FamilyRegistry.all.names
    guard let found = FamilyRegistry.all.named(chosen) else {
      throw .configuration(
        "--family",
        "expected \(families.joined(separator: " | ")), found \(chosen.quotedForMessage)"
          + Suggestion.clause(for: chosen, among: families))
    }
    self.family = found
    if found.takesText { proposal.keepTexts(beside: wanted) }
    self.proposal = proposal
  }

  /// Sentences about values of the file that are read in a way that the user may not expect.
  public var warnings: [String] { proposal.warnings + dropped.map { "left out: \($0.name): \($0.dropReason ?? "")" } }

  private var dropped: [TableProposal.Column] { proposal.columns.filter { $0.dropReason != nil } }
  private var features: [TableProposal.Column] {
    proposal.columns.filter { $0.dropReason == nil && $0.name != target }
  }

  /// Text of the run file: required keys, columns as they were found, and every other key as a comment with its
  /// default.
  public var yaml: String {
    var text = "# A training run for Needletail: needletail-trainer train THIS_FILE\n"
    text += "# \(Figures.count(proposal.rows)) rows; a line that starts with # shows a default.\n"
    for section in RunSettings.all(family: family, among: FamilyRegistry.all) {
      let hasTerms = family.takesText && family.preprocessing.texts == .terms
      guard case .section(let settings) = section.kind, section.key != "text" || hasTerms else { continue }
      text += "\n# \(section.summary)\n\(section.key):\n"
      for setting in settings { text += lines(setting, in: section.key) }
    }
    return text
  }

  private func lines(_ setting: Setting, in section: String) -> String {
    let comment = "  # \(setting.summary)\n"
    if let value = value("\(section).\(setting.key)") { return comment + "  \(setting.key): \(value)\n" }
    switch "\(section).\(setting.key)" {
    case "data.drop" where !dropped.isEmpty: return comment + drops
    case "model.family":
      return "  # \(FamilyRegistry.all.names.joined(separator: " | "))\n  family: \(family.name)\n"
    case "features.columns": return comment + columns
    default: return comment + "  # \(setting.key): \(setting.fallback == .null ? "" : setting.fallback.inlineYAML)\n"
    }
  }

  /// Value of a setting that the table asks for; nil: its default will do.
  private func value(_ path: String) -> String? {
    let format = proposal.file.format
    switch path {
    case "data.files": return Document.list([.text(fileName)]).inlineYAML
    case "data.format": return format.kind == .jsonLines ? DataFormat.Kind.jsonLines.rawValue : nil
    case "data.delimiter":
      guard format.kind == .csv, let delimiter = format.delimiter, delimiter != .comma else { return nil }
      return delimiter.rawValue
    case "data.quote":
      guard format.kind == .csv, let quote = format.quote, quote != .double else { return nil }
      return quote.rawValue
    case "data.encoding": return format.encoding.flatMap { $0 == .utf8 ? nil : $0.rawValue }
    case "data.missing":
      guard proposal.missingWords != ValueRules.missingDefault else { return nil }
      return Document.list(proposal.missingWords.map { .text($0) }).inlineYAML
    case "data.thousands": return proposal.style.thousands == .none ? nil : proposal.style.thousands.name
    case "data.decimal": return proposal.style.hasDecimalComma ? "comma" : nil
    case "data.units": return proposal.style.allowsUnits ? "ignore" : nil
    case "target.column": return Document.text(target).inlineYAML
    case "target.task":
      // Whether few whole numbers are classes is decided here, and not again by other rows.
      guard proposal.column(target)?.reading.type == .numeric else { return nil }
      return isNumber ? "regression" : "classification"
    case "features.missing" where family.preprocessing.missing == .refused:
      return features.contains { $0.missing > 0 } ? "median" : nil
    case "features.unknown": return features.contains { $0.reading.type == .categorical } ? "zeros" : nil
    // Nobody but the user knows the folder; training says that this one is none.
    case "model.base": return family.modelSettings.contains { $0.key == "base" } ? "FOLDER" : nil
    case "publish.model": return RunConfiguration.modelName(of: fileName).map { Document.text($0).inlineYAML }
    default: return nil
    }
  }

  private var drops: String {
    "  drop:\n"
      + dropped.map { "    - \(Document.text($0.name).inlineYAML)  # \($0.dropReason ?? "")\n" }.joined()
  }

  private var columns: String {
    var text = "  columns:\n"
    for column in features {
      var settings = "type: \(column.reading.type.rawValue)"
      if column.reading.type == .datetime, column.reading.dateOrder != .yearFirst {
        settings += ", order: \(column.reading.dateOrder.name)"
      }
      text += "    " + Document.text(column.name).inlineYAML + ": { \(settings) }"
      text += column.note.isEmpty ? "\n" : "  # \(column.note)\n"
    }
    return text
  }
}

extension ColumnFindings {
  /// True where the values of a target read like class labels rather than quantities, as ``ColumnSurvey`` decides.
  var looksLikeClasses: Bool { numbers == present && isWhole && distinct <= ColumnSurvey.classesMax }
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
