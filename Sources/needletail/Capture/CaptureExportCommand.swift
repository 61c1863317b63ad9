internal import ArgumentParser
internal import Foundation
internal import NeedletailCapture
internal import NeedletailCore
internal import NeedletailReplay
internal import NeedletailSystem

struct CaptureExportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "export",
    abstract: "Write captured calls as CSV, one line a row, or as JSON Lines, one line a call.",
    discussion: """
      CSV is of one model. Features keep their names; `call.` stands before what is about the call, and `answer.` before \
      the columns of the answer. A redacted feature is an empty column, or holds hashes. `outcome.` stands before what \
      became of a row, where somebody reported it.
      """)

  enum Format: String, ExpressibleByArgument, CaseIterable { case csv, jsonl }

  @OptionGroup var selection: CaptureSelection

  @Option(help: ArgumentHelp("Form of the output.", valueName: "csv|jsonl"))
  var format = Format.csv

  @Option(
    help: ArgumentHelp("File to write, which is replaced when it is whole; - is standard output.", valueName: "file"))
  var output = "-"

  private static let pieceBytes = 1 << 20

  private func openOutput(_ path: String) throws(SystemError) -> FileDescriptor {
    guard output != "-" else { return FileDescriptor(owning: dup(STDOUT_FILENO), path: "standard output") }
    return try FileDescriptor(opening: path, O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600)
  }

  func run() throws {
    var csv: CapturedTable?
    var outcomes = CapturedOutcomes()
    try selection.query.forEachOutcome { outcomes.add($0) }
    if format == .csv || !outcomes.isEmpty {
      var table = CapturedTable(hasOutcomes: !outcomes.isEmpty)
      try selection.query.forEachCall { call in
        outcomes.consider(call)
        if format == .csv { try table.add(call) }
        return true
      }
      if format == .csv { csv = table }
    }
    if let table = csv {
      guard !table.isEmpty else {
        throw Failure("\(selection.capture): expected calls, found none that were asked for")
      }
    }
    let temporary = output + ".part"
    let isWhole: Bool
    do {
      let file = try openOutput(temporary)
      var text = csv?.header ?? ""
      isWhole = try selection.query.forEachCall { call in
        if let csv {
          // A version whose first call was captured since the columns were read.
          guard csv.hasColumns(of: call) else { return true }
          csv.append(call, outcomes.outcomes(of: call), to: &text)
        } else {
          text += CapturedJSON.line(call, outcomes.outcomes(of: call))
        }
        if text.utf8.count >= Self.pieceBytes {
          try file.write(Array(text.utf8))
          text = ""
        }
        return true
      }
      try file.write(Array(text.utf8))
      if output != "-" {
        try file.synchronise()
        guard rename(temporary, output) == 0 else { throw SystemError("rename \(temporary)") }
      }
    } catch {
      if output != "-" { unlink(temporary) }
      guard let error = error as? SystemError else { throw error }
      // A reader that has enough, such as `head`, is no fault.
      if output == "-", error.code == EPIPE { return }
      throw Failure("\(error)")
    }
    if !isWhole { throw ExitCode.failure }
  }
}

/// Columns of a CSV file of calls of one model, and its lines.
struct CapturedTable {
  private static let callColumns = [
    "call.time", "call.version", "call.id", "call.row", "call.status", "call.reasons", "call.queue_us",
    "call.compute_us", "call.batch_rows", "call.key",
  ]
  private static let outcomeColumns = ["outcome.time", "outcome.value"]

  /// Whether the capture has outcomes, which have columns then.
  private let hasOutcomes: Bool

  private var model: String?
  private var features: [String] = []
  private var answers: [String] = []
  private var featuresKnown: Set<String> = []
  private var answersKnown: Set<String> = []
  /// Versions whose columns are known.
  private var seen: Set<CapturedModel> = []
  /// Version of the last call: that of the next one nearly always, and compared with it faster than looked up.
  private var last: CapturedModel?

  init(hasOutcomes: Bool) { self.hasOutcomes = hasOutcomes }

  var isEmpty: Bool { model == nil }

  /// Adds the columns of a call's model.
  /// - Throws: if it is another model than that of earlier calls.
  mutating func add(_ call: CapturedCall) throws {
    if let model, model != call.model.name {
      throw Failure(
        "expected calls of one model, found \(model.quotedForMessage) and \(call.model.name.quotedForMessage); choose one "
          + "with --model")
    }
    model = call.model.name
    guard last != call.model else { return }
    last = call.model
    guard seen.insert(call.model).inserted else { return }
    for feature in call.model.features where featuresKnown.insert(feature).inserted { features.append(feature) }
    for output in call.model.outputs {
      for column in 0..<output.columns {
        let name = output.columns == 1 ? output.name : "\(output.name)[\(column)]"
        if answersKnown.insert(name).inserted { answers.append(name) }
      }
    }
  }

  /// Whether the columns of a call's model were added.
  func hasColumns(of call: CapturedCall) -> Bool { last == call.model || seen.contains(call.model) }

  var header: String {
    let columns = Self.callColumns + features + answers.map { "answer.\($0)" }
    return (columns + (hasOutcomes ? Self.outcomeColumns : [])).map(Self.quoted).joined(separator: ",") + "\n"
  }

  /// Appends the lines of a call, one for each row.
  func append(_ call: CapturedCall, _ outcomes: [Int: CapturedOutcome], to text: inout String) {
    let inputs = Dictionary(
      call.inputColumns.map { (ValueText.normalised($0.name), $0.values) }
    ) { first, _ in first }
    let outputs = Dictionary(call.answerColumns.map { ($0.name, $0.values) }) { first, _ in first }
    let rows = max(call.rows, inputs.values.map(\.count).max() ?? 0)
    let own = features.map { inputs[ValueText.normalised($0)] ?? [] }
    let answered = answers.map { outputs[$0] ?? [] }
    for row in 0..<rows {
      var cells = [
        UnixTime.text(microseconds: call.microseconds), "\(call.model.version)", "\(call.id)", "\(row)",
        "\(call.status)",
        "\(call.reasons)", "\(call.queueMicroseconds)", "\(call.computeMicroseconds)", "\(call.batchRows)",
        call.key.isNone ? "" : call.key.text,
      ]
      for values in own + answered { cells.append(row < values.count ? Self.cell(values[row]) : "") }
      if hasOutcomes {
        let outcome = outcomes[row]
        cells.append(outcome.map { UnixTime.text(microseconds: $0.microseconds) } ?? "")
        switch outcome?.truth {
        case .label(let label): cells.append(Self.quoted(label))
        case .number(let number): cells.append("\(number)")
        case nil: cells.append("")
        }
      }
      text += cells.joined(separator: ",")
      text += "\n"
    }
  }

  private static func cell(_ value: CapturedValue) -> String {
    switch value {
    case .float(let value): "\(value)"
    case .double(let value): "\(value)"
    case .integer(let value): "\(value)"
    case .flag(let value): value ? "true" : "false"
    case .text(let text): quoted(text)
    case .missing: ""
    }
  }

  private static func quoted(_ text: String) -> String {
    let isPlain =
      !text.isEmpty && text.utf8.allSatisfy { $0 > 0x20 && $0 != UInt8(ascii: ",") && $0 != UInt8(ascii: "\"") }
    return isPlain ? text : "\"" + text.replacingOccurrences(of: "\"", with: "\"\"") + "\""
  }
}

/// A captured call as one line of JSON.
enum CapturedJSON {
  static func line(_ call: CapturedCall, _ outcomes: [Int: CapturedOutcome]) -> String {
    var text = "{\"time\":\"\(UnixTime.text(microseconds: call.microseconds))\",\"model\":\(quoted(call.model.name))"
    text += ",\"version\":\(call.model.version),\"id\":\(call.id),\"status\":\"\(call.status)\",\"reasons\":["
    text += call.reasons.names.map(quoted).joined(separator: ",")
    text += "],\"rows\":\(call.rows),\"queue_us\":\(call.queueMicroseconds),\"compute_us\":\(call.computeMicroseconds)"
    text += ",\"batch_rows\":\(call.batchRows),\"inputs\":\(object(call.inputColumns))"
    text += ",\"answers\":\(object(call.answerColumns))"
    if !call.key.isNone { text += ",\"key\":\"\(call.key.text)\"" }
    if !outcomes.isEmpty {
      let parts = outcomes.sorted { $0.key < $1.key }.map { row, outcome in
        "{\"row\":\(row),\"time\":\"\(UnixTime.text(microseconds: outcome.microseconds))\",\(truth(outcome.truth))}"
      }
      text += ",\"outcomes\":[\(parts.joined(separator: ","))]"
    }
    return text + "}\n"
  }

  private static func truth(_ truth: CapturedOutcome.Truth) -> String {
    switch truth {
    case .label(let label): "\"label\":\(quoted(label))"
    case .number(let number): "\"value\":\(value(CapturedValue.double(number)))"
    }
  }

  private static func object(_ columns: [CapturedColumn]) -> String {
    let parts = columns.map { "\(quoted($0.name)):[\($0.values.map(value).joined(separator: ","))]" }
    return "{" + parts.joined(separator: ",") + "}"
  }

  private static func value(_ value: CapturedValue) -> String {
    switch value {
    case .float(let value): value.isFinite ? "\(value)" : value > 0 ? "\"Infinity\"" : "\"-Infinity\""
    case .double(let value): value.isFinite ? "\(value)" : value > 0 ? "\"Infinity\"" : "\"-Infinity\""
    case .integer(let value): "\(value)"
    case .flag(let value): value ? "true" : "false"
    case .text(let text): quoted(text)
    case .missing: "null"
    }
  }

  static func quoted(_ text: String) -> String {
    var quoted = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": quoted += "\\\""
      case "\\": quoted += "\\\\"
      case "\n": quoted += "\\n"
      default:
        if scalar.value < 0x20 {
          quoted += "\\u00" + (scalar.value < 16 ? "0" : "") + String(scalar.value, radix: 16)
        } else {
          quoted.unicodeScalars.append(scalar)
        }
      }
    }
    return quoted + "\""
  }
}
