internal import ArgumentParser
internal import Foundation
internal import NeedletailBundle
internal import NeedletailCSV
internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailSystem

/// `needletail explain FILE --data ROWS`: works on a bundle, needs no server.
struct ExplainCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "explain",
    abstract: "Say what each feature contributed to a model's answers.",
    discussion: """
      Takes a bundle of trees or of a linear model, needs no server, and computes exact Shapley values: what each feature \
      added to the raw score of a row (log-odds of two classes, the score of each of several, the number itself of most \
      regressions), beginning with the mean over the training rows. XGBoost's pred_contribs and LightGBM's pred_contrib \
      are the same numbers.

        needletail explain churn.ntb --data customers.csv
        needletail explain churn.ntb --data customers.csv --json --top 3
        needletail explain churn.ntb --data customers.csv --output contributions.csv

      It shows the mean of the contributions' magnitudes, and each contribution for a few rows, that of a text also by \
      its terms. The CSV file and the JSON lines hold one line for each row and output.
      """)

  @Argument(help: "A bundle file (.ntb).", completion: .file(extensions: ["ntb"]))
  var file: String

  @Option(help: ArgumentHelp("Rows to explain; - is standard input.", valueName: "FILE.csv|FILE.json|-"))
  var data: String

  @Option(help: ArgumentHelp("Between the fields of a CSV file.", valueName: "comma|semicolon|tab|pipe"))
  var delimiter = CSVDelimiter.comma

  @Option(
    name: .shortAndLong, help: ArgumentHelp("Write all contributions to this file.", valueName: "FILE.csv"))
  var output: String?

  @Option(
    help: ArgumentHelp(
      "Features shown, largest contributions first; else 10, and all of them with --json.", valueName: "n"))
  var top: Int?

  @Option(help: ArgumentHelp("Threads; else one for each processor.", valueName: "n"))
  var threads: Int?

  @Flag(help: "Print one JSON object per row and output.")
  var json = false

  /// Rows of which each contribution is shown; of more, only the means.
  private static let rowsShownMax = 5

  func validate() throws {
    if let top, top < 1 { throw ValidationError("--top: expected a number from 1, found \(top)") }
    if let threads, !(1...64).contains(threads) {
      throw ValidationError("--threads: expected 1 to 64, found \(threads)")
    }
  }

  func run() async throws {
    try InstructionSet.validateEnvironment()
    let found = try BundleFile.open(path: file)
    let (bundle, contents) = try BundleOutput.naming(file) { () throws(BundleError) in
      let bundle = try VerifiedBundle(found, trust: .allowingUnsigned, expecting: nil, nowMilliseconds: 0)
      return (bundle, try bundle.decode())
    }
    let explainer: ModelExplainer
    do throws(ExplanationError) {
      explainer = try ModelExplainer(contents.definition, drift: contents.drift)
    } catch {
      throw Failure("\(file): \(error)")
    }
    let terms: TermExplainer?
    do throws(ExplanationError) { terms = try TermExplainer(explainer) } catch { throw Failure("\(file): \(error)") }
    let table = try FeatureTable(path: data, delimiter: delimiter)
    let writer = try output.map { try ContributionFile(path: $0, features: explainer.features) }
    var summary = ContributionSummary(explainer)
    var progress = RowProgress(rows: table.rows.count)
    do {
      for start in stride(from: 0, to: table.rows.count, by: explainer.rowsMax) {
        let range = start..<min(start + explainer.rowsMax, table.rows.count)
        let cells = try table.cells(for: contents.definition.schema, rows: range)
        let explanation: Explanation
        do throws(ExplanationError) {
          explanation = try explainer.explain(cells, firstRow: start + 1, threads: threads ?? Processors.count) {
            progress.show(done: start + $0)
          }
        } catch {
          throw Failure("\(table.source): \(error)")
        }
        summary.add(explanation, rows: range.count)
        try writer?.append(explanation, explainer, firstRow: start + 1)
        if json { try printLines(explanation, explainer, terms, cells, firstRow: start + 1) }
        if start == 0, !json, range.count <= Self.rowsShownMax, range.count == table.rows.count {
          summary.rows = range.map { table.shownValues(of: explainer.features, row: $0) }
          summary.first = explanation
          if let terms { summary.texts = { row, output in terms.explain(cells[row], output: output) } }
        }
      }
      progress.finish()
      try writer?.finish()
    } catch {
      progress.finish()
      writer?.discard()
      throw error
    }
    guard !json else { return }
    let model = "\(BundleOutput.plain(bundle.manifest.model.name)) version \(bundle.manifest.version.number)"
    for line in summary.lines(model: model, top: top ?? 10) { print(line) }
    if let output { print("\nContributions: \(output)") }
  }

  private func printLines(
    _ explanation: Explanation, _ explainer: ModelExplainer, _ terms: TermExplainer?, _ cells: [[Cell]], firstRow: Int
  ) throws {
    let width = explainer.features.count
    for (index, score) in explanation.scores.enumerated() {
      let values = explanation.contributions[(index * width)..<((index + 1) * width)]
      let largest = values.indices.sorted { abs(values[$0]) > abs(values[$1]) }.prefix(top ?? width)
      let output = index % explainer.outputs.count
      try printJSON(
        ExplainedRow(
          row: firstRow + index / explainer.outputs.count, output: explainer.outputs[output],
          base: explainer.baseValues[output], score: score,
          contributions: Dictionary(
            uniqueKeysWithValues: largest.map { (explainer.features[$0 - index * width], values[$0]) }),
          terms: terms?.explain(cells[index / explainer.outputs.count], output: output).map {
            ExplainedText($0, top: top ?? $0.terms.count)
          }),
        keys: .useDefaultKeys)
    }
  }
}

/// One row and output as JSON.
private struct ExplainedRow: Encodable {
  let row: Int
  let output: String
  let base, score: Double
  let contributions: [String: Double]
  /// Left out where the model reads no texts.
  let terms: [ExplainedText]?
}

/// The terms of a text as JSON, largest contributions first.
private struct ExplainedText: Encodable {
  struct Term: Encodable {
    let term: String
    let contribution: Double
  }

  let feature: String
  let withoutTerms: Double
  let terms: [Term]

  enum CodingKeys: String, CodingKey {
    case feature, terms
    case withoutTerms = "without_terms"
  }

  init(_ text: TextExplanation, top: Int) {
    feature = text.feature
    withoutTerms = text.withoutTerms
    terms = text.terms.prefix(top).map { Term(term: $0.text, contribution: $0.contribution) }
  }
}

/// All contributions as CSV: row, output, base, score, then a column for each feature. The file appears whole.
private final class ContributionFile {
  private let path: String
  private let partial: String
  private let handle: FileHandle

  init(path: String, features: [String]) throws {
    self.path = path
    partial = path + ".part"
    guard FileManager.default.createFile(atPath: partial, contents: nil),
      let handle = FileHandle(forWritingAtPath: partial)
    else { throw Failure("\(path): expected a file that can be written, found none") }
    self.handle = handle
    let header = ["row", "output", "base", "score"] + features
    try write(header.map(Self.field).joined(separator: ",") + "\n")
  }

  func append(_ explanation: Explanation, _ explainer: ModelExplainer, firstRow: Int) throws {
    var text = ""
    let width = explainer.features.count
    for (index, score) in explanation.scores.enumerated() {
      let output = index % explainer.outputs.count
      text += "\(firstRow + index / explainer.outputs.count),\(Self.field(explainer.outputs[output])),"
      text += "\(explainer.baseValues[output]),\(score)"
      for feature in 0..<width { text += ",\(explanation.contributions[index * width + feature])" }
      text += "\n"
    }
    try write(text)
  }

  func finish() throws {
    try handle.close()
    guard rename(partial, path) == 0 else {
      throw Failure("\(path): expected a file that can be written, found: \(String(cString: strerror(errno)))")
    }
  }

  func discard() {
    try? handle.close()
    unlink(partial)
  }

  private func write(_ text: String) throws {
    do {
      try handle.write(contentsOf: Data(text.utf8))
    } catch {
      throw Failure("\(path): expected a file that can be written, found: \(error.localizedDescription)")
    }
  }

  private static func field(_ text: String) -> String {
    guard text.contains(where: { ",\"\n\r ".contains($0) }) || text.isEmpty else { return text }
    return "\"" + text.replacing("\"", with: "\"\"") + "\""
  }
}

/// How many rows are explained, on standard error: in place on a terminal, elsewhere a line now and then.
private struct RowProgress {
  private let rows: Int
  private let isTerminal = isatty(STDERR_FILENO) == 1
  private var last = Instant.now()
  private var isOpen = false

  init(rows: Int) { self.rows = rows }

  mutating func show(done: Int) {
    let now = Instant.now()
    guard now.microseconds(since: last) > (isTerminal ? 200_000 : 5_000_000) else { return }
    last = now
    let text = "explained \(BundleOutput.grouped(done)) of \(BundleOutput.grouped(rows)) rows"
    if isTerminal {
      FileHandle.standardError.write(Data("\r\u{1b}[2K\(text)".utf8))
      isOpen = true
    } else {
      notice(text)
    }
  }

  mutating func finish() {
    if isOpen { FileHandle.standardError.write(Data("\r\u{1b}[2K".utf8)) }
    isOpen = false
  }
}
