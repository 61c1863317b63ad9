internal import ArgumentParser
internal import NeedletailCSV
internal import NeedletailClient
internal import NeedletailCore

struct FeedbackCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "feedback",
    abstract: "Report what became of predictions, and show how good a model's answers were.",
    discussion: """
      The server remembers predictions of calls that have a name (key, or routing key), as its feedback.rules say, and \
      joins them with the outcomes that are reported later.

        needletail predict churn --input customers.csv --key monday
        needletail feedback send churn --key monday --row 3 --label churned
        needletail feedback send churn --input outcomes.csv
        needletail feedback show churn
      """,
    subcommands: [FeedbackSendCommand.self, FeedbackShowCommand.self])
}

struct FeedbackSendCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "send", abstract: "Report outcomes of one model's predictions.",
    discussion: """
      A file has the columns key and label (of a classification) or value (of a regression), and row where calls had \
      several. Reporting an outcome again is safe: it counts once. Ends with 1 if an outcome was not joined, which \
      --lenient allows.
      """)

  @Argument(help: ArgumentHelp("Name of the model.", valueName: "MODEL"))
  var model: String

  @Option(help: ArgumentHelp("Outcomes; - is standard input.", valueName: "FILE.csv|FILE.json|-"))
  var input: String?

  @Option(help: ArgumentHelp("Between the fields of a CSV file.", valueName: "comma|semicolon|tab|pipe"))
  var delimiter = CSVDelimiter.comma

  @Option(help: "Name of the call that one outcome is about.")
  var key: String?

  @Option(help: ArgumentHelp("Row of that call, from 0.", valueName: "n"))
  var row: UInt32 = 0

  @Option(help: "Its true class.")
  var label: String?

  @Option(help: ArgumentHelp("Its true number.", valueName: "number"))
  var value: Double?

  @Flag(help: "End with 0 although outcomes were not joined.")
  var lenient = false

  @Flag(help: "Print one JSON object.")
  var json = false

  @OptionGroup var server: ServerOptions

  func validate() throws {
    guard (input != nil) != (key != nil) else {
      throw ValidationError("Give either --input FILE, or --key with --label or --value.")
    }
    guard input != nil || (label != nil) != (value != nil) else {
      throw ValidationError("Give either --label or --value.")
    }
    guard input == nil || (label == nil && value == nil) else {
      throw ValidationError("--label and --value stand beside --key; a file has columns for them.")
    }
  }

  func run() async throws {
    let outcomes = try input.map { try Self.outcomes(FeatureTable(path: $0, delimiter: delimiter)) } ?? [single()]
    var total = FeedbackReport()
    try await server.withClient { client in
      for start in stride(from: 0, to: outcomes.count, by: Limits.feedbackOutcomesMax) {
        let part = Array(outcomes[start..<min(start + Limits.feedbackOutcomesMax, outcomes.count)])
        total.add(try await client.feedback(model, outcomes: part), from: start)
      }
    }
    if json { try printJSON(total.json) } else { say(total, of: outcomes.count) }
    if !lenient, Int(total.joined) < outcomes.count { throw ExitCode.failure }
  }

  private func single() throws -> ReportedOutcome {
    let truth = label.map { ReportedOutcome.Truth.label($0) } ?? .value(value ?? .nan)
    return ReportedOutcome(key: key ?? "", row: row, truth: truth)
  }

  /// - Throws: a sentence that names the row and the column at fault.
  static func outcomes(_ table: FeatureTable) throws(Failure) -> [ReportedOutcome] {
    func column(_ name: String) -> Int? { table.columns.firstIndex(of: name) }
    guard let key = column("key") else { throw Failure("\(table.source): expected a column key, found none") }
    let (label, value, row) = (column("label"), column("value"), column("row"))
    guard (label != nil) != (value != nil) else {
      throw Failure("\(table.source): expected a column label or value, found \(label == nil ? "neither" : "both")")
    }
    var outcomes: [ReportedOutcome] = []
    outcomes.reserveCapacity(table.rows.count)
    for (index, cells) in table.rows.enumerated() {
      func wrong(_ column: String, _ expected: String, _ found: String) -> Failure {
        Failure(
          "\(table.source): \(table.rowName(index)): \(column): expected \(expected), found \(found.quotedForMessage)")
      }
      var number: UInt32 = 0
      if let row {
        guard let found = UInt32(cells[row].text) else { throw wrong("row", "a number from 0", cells[row].text) }
        number = found
      }
      var truth = ReportedOutcome.Truth.value(.nan)
      if let label { truth = .label(cells[label].text) }
      if let value {
        guard let found = NumberText.parse(cells[value].text) else {
          throw wrong("value", "a number", cells[value].text)
        }
        truth = .value(found)
      }
      outcomes.append(ReportedOutcome(key: cells[key].text, row: number, truth: truth))
    }
    guard !outcomes.isEmpty else { throw Failure("\(table.source): expected at least one outcome, found none") }
    return outcomes
  }

  private func say(_ report: FeedbackReport, of count: Int) {
    let counts = [
      ("unknown", report.unknown), ("late", report.late), ("duplicate", report.duplicate),
      ("contradictory", report.contradictory), ("invalid", report.invalid),
    ].filter { $0.1 > 0 }.map { "\($0.1) \($0.0)" }
    let rest = counts.isEmpty ? "" : "; \(counts.joined(separator: ", "))"
    print("\(BundleOutput.grouped(Int(report.joined))) of \(BundleOutput.grouped(count)) outcomes joined\(rest)")
    for problem in report.problems { notice(BundleOutput.plain(problem.message)) }
  }
}

extension FeedbackReport {
  /// Adds what came of the next part of a list.
  /// - Parameter start: place of its first outcome in the list.
  mutating func add(_ part: FeedbackReport, from start: Int) {
    joined += part.joined
    unknown += part.unknown
    late += part.late
    duplicate += part.duplicate
    contradictory += part.contradictory
    invalid += part.invalid
    for var problem in part.problems where problems.count < Limits.feedbackProblemsMax {
      let place = "outcomes[\(problem.index)]"
      problem.index += UInt32(start)
      problem.message = problem.message.replacing(place, with: "outcomes[\(problem.index)]")
      problems.append(problem)
    }
  }
}

struct FeedbackShowCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show", abstract: "Show how good a model's answers were whose outcomes are known.",
    discussion: """
      Figures are of the window of the model's rule: by version, by how calls came to it (assigned by the rollout, or \
      named by their callers), and by the groups of the rule.
      """)

  @Argument(help: ArgumentHelp("Name of the model.", valueName: "MODEL"))
  var model: String

  @Flag(help: "Exit with 1 where a version is worse than expected by more than chance gives.")
  var failOnWorse = false

  @Flag(help: "Print one JSON object.")
  var json = false

  @OptionGroup var server: ServerOptions

  func run() async throws {
    let text = try await server.withClient { try await $0.metrics() }
    let report = try LiveFigures(metrics: MetricSamples(text), model: model)
    if json { try printJSON(report) } else { report.print() }
    if failOnWorse, report.versions.contains(where: { $0.worse == true }) { throw ExitCode.failure }
  }
}
