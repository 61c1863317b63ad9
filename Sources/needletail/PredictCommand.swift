internal import ArgumentParser
internal import NeedletailCSV
internal import Foundation
internal import NeedletailClient
internal import NeedletailCore

struct PredictCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "predict",
    abstract: "Predict rows of a CSV or JSON file, or rows given on the command line.",
    discussion: """
      CSV needs a header; an empty cell is a missing value, and so is each word that the model was trained to
      read so (see: needletail models MODEL). JSON is {"feature": [1, 2], ...}, or {"feature": 1, ...} for one
      row, or a list of row objects; null is a missing value. Values are read as in training.

      Examples:
        needletail predict wine --input rows.csv
        needletail predict wine@3 --set alcohol=13.2 --set colour=red
        needletail predict sentiment --text "could not be better"
        needletail predict people --text "Ada Lovelace was born in London"
        needletail predict reading --set question="Who?" --set context="Ada was there." --json
        head -3 rows.csv | needletail predict wine@canary --input - --json
      """)

  @Argument(help: ArgumentHelp("The model; @ chooses a version or a label.", valueName: "MODEL[@VERSION|@LABEL]"))
  var model: ModelReference

  @Option(help: ArgumentHelp("Rows to predict; - is standard input.", valueName: "FILE.csv|FILE.json|-"))
  var input: String?

  @Option(help: ArgumentHelp("Between the fields of a CSV file.", valueName: "comma|semicolon|tab|pipe"))
  var delimiter = CSVDelimiter.comma

  @Option(help: ArgumentHelp("One feature of one row; may be repeated.", valueName: "FEATURE=VALUE"))
  var set: [String] = []

  @Option(help: ArgumentHelp("A row of a model whose input is one text; may be repeated.", valueName: "TEXT"))
  var text: [String] = []

  @Option(help: ArgumentHelp("Only this output; may be repeated.", valueName: "NAME"))
  var output: [String] = []

  @Option(
    help: ArgumentHelp(
      "Trace that the call belongs to (W3C), for a server that exports spans.", valueName: "00-TRACE-SPAN-FLAGS"))
  var traceparent = ""

  @Option(help: ArgumentHelp("Name the call, so that needletail feedback finds its rows later.", valueName: "NAME"))
  var key: String?

  @Flag(help: "Say nothing about columns that the model does not know.")
  var ignoreExtra = false

  @Flag(help: "Print one JSON object per row.")
  var json = false

  @OptionGroup var server: ServerOptions

  /// Rows of one call: far below every limit, large enough to be fast.
  private static let rowsPerCall = 1024

  func validate() throws {
    guard [input != nil, !set.isEmpty, !text.isEmpty].count(where: { $0 }) == 1 else {
      throw ValidationError("Give either --input FILE, --set FEATURE=VALUE or --text TEXT.")
    }
  }

  func run() async throws {
    let given = try input.map { try FeatureTable(path: $0, delimiter: delimiter) } ?? FeatureTable(pairs: set)
    let rows = text.isEmpty ? given.rows.count : text.count
    if key != nil, rows > Limits.feedbackRowsMax {
      throw Failure(
        "--key: expected at most \(Limits.feedbackRowsMax) rows, which are remembered of one call, found \(rows)")
    }
    try await server.withClient { client in
      let description = try await client.describeModel(model.model, selector: model.selector)
      let table = text.isEmpty ? given : try FeatureTable(texts: text, for: description)
      let extra = table.extraColumns(for: description)
      if !extra.isEmpty, !ignoreExtra {
        notice(
          "\(table.source): ignored \(extra.count == 1 ? "column" : "columns") unknown to the model: "
            + extra.map(\.quotedForMessage).joined(separator: ", "))
      }
      var printer = PredictionPrinter(json: json)
      for start in stride(from: 0, to: table.rows.count, by: Self.rowsPerCall) {
        let range = start..<min(start + Self.rowsPerCall, table.rows.count)
        let inputs = try table.tensors(for: description, rows: range)
        let answer = try await client.predict(
          model.model, selector: model.selector, inputs: inputs, outputs: output, key: key ?? "",
          traceparent: traceparent)
        try printer.append(answer, rows: range)
      }
      printer.finish()
    }
  }
}

/// Prints predictions row by row: as a table for people or as JSON lines.
struct PredictionPrinter {
  private let json: Bool
  private var table: TerminalTable?

  init(json: Bool) {
    self.json = json
  }

  /// - Parameter rows: positions of the answer's rows in the whole input.
  mutating func append(_ answer: Prediction, rows: Range<Int>) throws {
    for output in answer.outputs where output.shape.first != rows.count {
      throw Failure("output \(output.name.quotedForMessage): expected \(rows.count) rows, found shape \(output.shape)")
    }
    if json {
      for row in rows {
        try printJSON(RowAnswer(answer, row: row, offset: row - rows.lowerBound), keys: .useDefaultKeys)
      }
    } else {
      appendTable(answer, rows: rows)
    }
  }

  func finish() {
    table?.print()
  }

  private mutating func appendTable(_ answer: Prediction, rows: Range<Int>) {
    let places = TextPlaces(answer)
    // The label makes the index of the class redundant.
    let outputs = answer.outputs.filter { output in
      (output.name != "class" || answer["label"] == nil) && places?.isPart(output.name) != true
    }.sorted { ($0.name == "label" ? 0 : 1) < ($1.name == "label" ? 0 : 1) }
    if table == nil {
      var columns: [(String, TerminalTable.Alignment)] = [("row", .right)]
      for output in outputs {
        let isText = if case .strings = output.values { true } else { false }
        columns.append((Self.title(output), isText ? .left : .right))
      }
      if let places { columns.append((places.name, .left)) }
      table = TerminalTable(columns + [("version", .right)])
    }
    for row in rows {
      let offset = row - rows.lowerBound
      var cells = [String(row + 1)] + outputs.map { Self.cell($0, row: offset) }
      if let places { cells.append(places[offset].map(\.words).joined(separator: ", ")) }
      table?.append(cells + [String(answer.version)])
    }
  }

  private static func title(_ output: OutputTensor) -> String {
    output.name == "probabilities" ? "probability" : BundleOutput.plain(output.name)
  }

  /// Text of one output in one row; of probabilities only the largest, which belongs to the answered class.
  private static func cell(_ output: OutputTensor, row: Int) -> String {
    let width = output.shape.dropFirst().reduce(1, *)
    let range = (row * width)..<((row + 1) * width)
    switch output.values {
    case .floats(let values):
      if output.name == "probabilities", let top = values[range].max() { return String(format: "%.4f", top) }
      return values[range].map { String(format: "%.6g", $0) }.joined(separator: " ")
    case .integers(let values): return values[range].map(String.init).joined(separator: " ")
    case .strings(let values): return BundleOutput.plain(values[range].joined(separator: " "))
    }
  }
}

/// One row of an answer as JSON: `row` (from 1), `model`, `version`, and every output by its name.
private struct RowAnswer: Encodable {
  private struct Key: CodingKey {
    var stringValue: String
    var intValue: Int? { nil }
    init(_ name: String) { stringValue = name }
    init?(stringValue: String) { self.init(stringValue) }
    init?(intValue: Int) { nil }
  }

  private let answer: Prediction
  private let row: Int
  private let offset: Int

  init(_ answer: Prediction, row: Int, offset: Int) {
    self.answer = answer
    self.row = row
    self.offset = offset
  }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: Key.self)
    try container.encode(row + 1, forKey: Key("row"))
    try container.encode(answer.model, forKey: Key("model"))
    try container.encode(answer.version, forKey: Key("version"))
    let places = TextPlaces(answer)
    if let places {
      if places.isList {
        try container.encode(places[offset], forKey: Key(places.name))
      } else {
        try container.encode(places[offset].first, forKey: Key(places.name))
      }
    }
    for output in answer.outputs where places?.isPart(output.name) != true {
      let width = output.shape.dropFirst().reduce(1, *)
      let range = (offset * width)..<((offset + 1) * width)
      let isList = output.shape.count > 1
      switch output.values {
      case .floats(let values): try Self.encode(values[range], isList, Key(output.name), &container)
      case .integers(let values): try Self.encode(values[range], isList, Key(output.name), &container)
      case .strings(let values): try Self.encode(values[range], isList, Key(output.name), &container)
      }
    }
  }

  private static func encode<Value: Encodable>(
    _ values: ArraySlice<Value>, _ isList: Bool, _ key: Key, _ container: inout KeyedEncodingContainer<Key>
  ) throws {
    if isList {
      try container.encode(Array(values), forKey: key)
    } else {
      try container.encode(values.first, forKey: key)
    }
  }
}
