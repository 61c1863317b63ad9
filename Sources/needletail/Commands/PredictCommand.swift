internal import ArgumentParser
internal import NeedletailClient

struct PredictCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "predict",
    abstract: "Predict rows of a CSV or JSON file, or one row given on the command line.",
    discussion: """
      CSV needs a header; an empty cell is a missing value. JSON is {"feature": [1, 2], ...}, or
      {"feature": 1, ...} for one row, or a list of row objects.

      Examples:
        needletail predict wine --input rows.csv
        needletail predict wine@3 --set alcohol=13.2 --set colour=red
        head -3 rows.csv | needletail predict wine@canary --input - --json
      """)

  @Argument(help: ArgumentHelp("The model; @ chooses a version or a label.", valueName: "MODEL[@VERSION|@LABEL]"))
  var model: ModelReference

  @Option(help: ArgumentHelp("Rows to predict; - is standard input.", valueName: "FILE.csv|FILE.json|-"))
  var input: String?

  @Option(help: ArgumentHelp("One feature of one row; may be repeated.", valueName: "FEATURE=VALUE"))
  var set: [String] = []

  @Option(help: ArgumentHelp("Only this output; may be repeated.", valueName: "NAME"))
  var output: [String] = []

  @Flag(help: "Say nothing about columns that the model does not know.")
  var ignoreExtra = false

  @Flag(help: "Print one JSON object per row.")
  var json = false

  @OptionGroup var server: ServerOptions

  /// Rows of one call: far below every limit, large enough to be fast.
  private static let rowsPerCall = 1024

  func validate() throws {
    guard (input == nil) != set.isEmpty else {
      throw ValidationError("Give either --input FILE or --set FEATURE=VALUE.")
    }
  }

  func run() async throws {
    let table = try input.map(FeatureTable.init(path:)) ?? FeatureTable(pairs: set)
    try await server.withClient { client in
      let description = try await client.describeModel(model.model, selector: model.selector)
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
        let answer = try await client.predict(model.model, selector: model.selector, inputs: inputs, outputs: output)
        try printer.append(answer, rows: range)
      }
      printer.finish()
    }
  }
}
