internal import NeedletailCore
internal import NeedletailModels

/// How far what a live version is asked, and answers, has moved from its training: what the status page says of it.
/// `needletail drift` tells the rest.
struct VersionDrift: Sendable {
  struct Column: Sendable, Encodable {
    var name: String
    /// Population stability index.
    var psi: Double
  }

  var model: ModelID
  var version: ModelVersion
  /// Rows that were watched in the window.
  var rows: Int
  /// Columns that are watched, the answers counting as one.
  var columns: Int
  /// Columns that have moved, the furthest first.
  var moved: [Column]
  /// Columns that have not moved that far, but are worth a look.
  var warnings: Int

  /// Rows are too few to say anything.
  var isUnknown: Bool { rows < DriftFigures.valuesMin }
}

extension VersionDrift {
  /// - Returns: nil for a version that is not watched.
  init?(_ live: LiveModel) {
    guard let report = live.watch?.recentReport() else { return nil }
    let named = report.columns.map { ($0.name, $0.figures) }
    let all = named + (report.answers.map { [("answers", $0.column.figures)] } ?? [])
    model = live.model
    version = live.version
    rows = all.map(\.1.rows).max() ?? 0
    columns = all.count
    moved = all.filter { $0.1.level == .alert }
      .map { Column(name: $0.0, psi: $0.1.stabilityIndex) }
      .sorted { $0.psi > $1.psi }
    warnings = report.count(.warning)
  }

  /// One sentence for people; nil where no column has moved. Names of columns are foreign text.
  var sentence: (text: String, names: String)? {
    guard !moved.isEmpty else { return nil }
    let shown = moved.prefix(Self.namesMax).map { "\($0.name) (PSI \(Self.hundredths($0.psi)))" }
    let more = moved.count - shown.count
    let names = shown.joined(separator: ", ") + (more > 0 ? " and \(more) more" : "")
    let verb = moved.count == 1 ? "column has" : "columns have"
    return ("\(moved.count) of \(columns) \(verb) moved from those of training: ", names)
  }

  /// What a cell of the table has room for; nil where nothing is known.
  var short: String? {
    guard !isUnknown else { return nil }
    if !moved.isEmpty { return "\(moved.count) moved" }
    return warnings > 0 ? "\(warnings) to look at" : "none"
  }

  private static let namesMax = 3

  private static func hundredths(_ value: Double) -> String {
    let rounded = Int((value * 100).rounded())
    return "\(rounded / 100).\(rounded % 100 < 10 ? "0" : "")\(rounded % 100)"
  }
}
