internal import Foundation
internal import NeedletailBundle
internal import NeedletailCSV
internal import NeedletailCore
internal import NeedletailSystem

/// Rows that were chosen for people to label, and rows that the model labelled itself.
public struct SelectedRows {
  public struct Row: Equatable, Sendable {
    /// Place among the rows of the file, from 0.
    var record: Int
    /// Nil for a model that tells no probabilities.
    var uncertainty: Double?
    /// Distance to the nearest row chosen before; nil where that was not asked.
    var distance: Double?
    /// The class that the model takes for the likeliest.
    var label: String?
    /// Its probability.
    var confidence: Double?
  }

  let model: ModelID
  let version: ModelVersion
  /// Classes of the model.
  let labels: [String]
  let settings: RowSelection.Settings
  let dataPath: String
  let rowsRead: Int
  /// Rows that the model does not answer, of which nothing is known.
  let rowsRefused: Int
  /// In the order in which they were chosen.
  public let chosen: [Row]
  /// In the order of the file.
  public let prelabelled: [Row]

  /// Names of the columns that a chosen row gets beside its own.
  private static let columns = [
    "select_rank", "select_row", "select_uncertainty", "select_distance", "select_label", "select_confidence",
  ]

  /// Reads the file once more, for every column of some rows as it stands there.
  private func fields(of records: Set<Int>) throws(TrainingError) -> (header: [String], rows: [Int: [String]]) {
    var header: [String] = []
    var rows: [Int: [String]] = [:]
    var record = 0
    let file = try DataFile(name: dataPath, path: dataPath, format: DataFormat(delimiter: settings.delimiter))
    try file.read(header: { header = $0 }) { found in
      if records.contains(record) { rows[record] = (0..<found.count).map { found.text($0) ?? "" } }
      record += 1
    }
    guard rows.count == records.count else {
      throw TrainingError(.data, "\(dataPath): expected \(Figures.count(rowsRead)) rows as before, found fewer")
    }
    return (header, rows)
  }

  /// Writes the chosen rows as CSV, the best first: all columns of the file, and why each was chosen.
  public func write(to path: String) throws(TrainingError) {
    let (header, rows) = try fields(of: Set(chosen.map(\.record)))
    var csv = CSVWriter()
    for name in header + Self.columns { csv.add(name) }
    csv.endRow()
    for (rank, row) in chosen.enumerated() {
      for field in rows[row.record] ?? [] { csv.add(field) }
      csv.add(String(rank + 1))
      csv.add(String(row.record + 1))
      for number in [row.uncertainty, row.distance] { csv.add(number.map { Figures.fixed($0, 6) } ?? "") }
      csv.add(row.label ?? "")
      csv.add(row.confidence.map { Figures.fixed($0, 6) } ?? "")
      csv.endRow()
    }
    try Self.write(csv.text, to: path)
  }

  /// Names in a labelling configuration of Label Studio that predictions refer to.
  public struct LabelStudioNames: Sendable {
    /// Name of the control, such as `<Choices name="label">`.
    public var control: String
    /// Name of the object that it labels, such as `<Table name="row">`.
    public var object: String

    public init(control: String, object: String) {
      self.control = control
      self.object = object
    }
  }

  /// Writes tasks in Label Studio's JSON format for import: chosen rows without a label, so that nobody is led, and
  /// behind them the rows that the model is sure of, with its label as a prediction.
  ///
  /// Each task has the columns of the file as its data, and all of them once more as `row`, which a `Table` shows.
  public func writeTasks(to path: String, _ names: LabelStudioNames) throws(TrainingError) {
    let (header, rows) = try fields(of: Set((chosen + prelabelled).map(\.record)))
    func task(_ row: Row, isPrelabelled: Bool) -> Document {
      let cells = zip(header, rows[row.record] ?? []).map { Document.Entry($0.0, .text($0.1)) }
      let own = cells.filter { $0.key != "row" }
      var task: [Document.Entry] = [
        .init("data", .section(own + [.init("row", .section(cells)), .init("select_row", .integer(row.record + 1))]))
      ]
      if isPrelabelled, let label = row.label, let confidence = row.confidence {
        let result = Document.section([
          .init("id", .text("row-\(row.record + 1)")), .init("from_name", .text(names.control)),
          .init("to_name", .text(names.object)), .init("type", .text("choices")),
          .init("value", .section([.init("choices", .list([.text(label)]))])),
        ])
        task.append(
          .init(
            "predictions",
            .list([
              .section([
                .init("model_version", .text("\(model) \(version)")), .init("score", .number(confidence)),
                .init("result", .list([result])),
              ])
            ])))
      }
      return .section(task)
    }
    let tasks =
      chosen.map { task($0, isPrelabelled: false) } + prelabelled.map { task($0, isPrelabelled: true) }
    try Self.write(Document.list(tasks).json, to: path)
  }

  /// Labelling configuration of Label Studio for these tasks.
  public func configuration(_ names: LabelStudioNames) -> String {
    func escaped(_ text: String) -> String {
      [("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\"", "&quot;")].reduce(text) { text, pair in
        text.split(separator: pair.0, omittingEmptySubsequences: false).joined(separator: pair.1)
      }
    }
    let choices = labels.map { "    <Choice value=\"\(escaped($0))\"/>\n" }.joined()
    return """
      <View>
        <Table name="\(escaped(names.object))" value="$row"/>
        <Choices name="\(escaped(names.control))" toName="\(escaped(names.object))" choice="single">
      \(choices)  </Choices>
      </View>

      """
  }

  /// Writes ``configuration(_:)``.
  public func writeConfiguration(to path: String, _ names: LabelStudioNames) throws(TrainingError) {
    try Self.write(configuration(names), to: path)
  }

  static func write(_ text: String, to path: String) throws(TrainingError) {
    do throws(SystemError) {
      try AtomicFile.write(Array(text.utf8), to: path, existing: .replaced)
    } catch {
      throw .output("\(path): expected to write it, found: \(error)")
    }
  }

  /// What was chosen, for programs.
  public var document: Document {
    .section([
      .init("model", .text(model.name)), .init("version", .integer(Int(clamping: version.number))),
      .init("by", .text(settings.strategy.rawValue)), .init("measure", .text(settings.uncertainty.rawValue)),
      .init("rows", .integer(rowsRead)), .init("rows_refused", .integer(rowsRefused)),
      .init("chosen", .integer(chosen.count)), .init("prelabelled", .integer(prelabelled.count)),
      .init(
        "selection",
        .list(
          chosen.map { row in
            .section([
              .init("row", .integer(row.record + 1)),
              .init("uncertainty", row.uncertainty.map { .number($0) } ?? .null),
              .init("distance", row.distance.map { .number($0) } ?? .null),
              .init("label", row.label.map { .text($0) } ?? .null),
              .init("confidence", row.confidence.map { .number($0) } ?? .null),
            ])
          })),
    ])
  }

  /// What was chosen, for people.
  public var text: String {
    var lines = [
      "chosen: \(Figures.count(chosen.count)) of \(Figures.count(rowsRead)) rows, by \(settings.strategy.rawValue)"
    ]
    let uncertainties = chosen.compactMap(\.uncertainty)
    if let first = uncertainties.max(), let last = uncertainties.min() {
      lines.append("\(settings.uncertainty.rawValue): \(Figures.fixed(first, 3)) to \(Figures.fixed(last, 3))")
    }
    if settings.confidenceMin != nil { lines.append("pre-labelled: \(Figures.count(prelabelled.count)) rows") }
    if rowsRefused > 0 { lines.append("left out: \(Figures.count(rowsRefused)) rows that the model refuses") }
    return lines.joined(separator: "\n") + "\n"
  }
}
