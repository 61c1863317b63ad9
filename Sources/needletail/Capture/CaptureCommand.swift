internal import ArgumentParser
internal import Foundation
internal import NeedletailCapture
internal import NeedletailCore
internal import NeedletailReplay

struct CaptureCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "capture",
    abstract: "Read calls that a server has captured.",
    discussion: """
      CAPTURE is the server's directory of captures, or one segment of it. A directory may be read while a server writes \
      to it: the last half second is not there yet.

        needletail capture list /var/lib/needletail/capture
        needletail capture show /var/lib/needletail/capture --model churn --reason error
        needletail capture export /var/lib/needletail/capture --model churn --format csv --output churn.csv
      """,
    subcommands: [CaptureListCommand.self, CaptureShowCommand.self, CaptureExportCommand.self])
}

/// Which captured calls a command is about.
struct CaptureSelection: ParsableArguments {
  @Argument(help: ArgumentHelp("Directory of captures, or one segment.", valueName: "CAPTURE"))
  var capture: String

  @Option(help: "Only calls of this model.")
  var model: String?

  @Option(help: ArgumentHelp("Only calls that this version answered.", valueName: "n"))
  var version: UInt64?

  @Option(help: ArgumentHelp("Only calls captured for this reason.", valueName: "rate|error|confidence|slow"))
  var reason: CaptureReasonArgument?

  @Option(help: ArgumentHelp("Only calls that arrived at this time or later.", valueName: "2026-11-28T05:10:00Z"))
  var since: CapturedTime?

  var query: CaptureQuery {
    CaptureQuery(
      capture: capture, model: model, version: version, reasons: reason?.reasons ?? [],
      since: since?.microseconds ?? 0, notice: notice)
  }
}

/// Time of captured calls: `2026-11-28T05:10:00.123456Z`.
struct CapturedTime: ExpressibleByArgument {
  /// Since 1970 (UTC).
  let microseconds: UInt64

  /// Reads a time of RFC 3339, with a fraction of a second or without.
  init?(argument: String) {
    let format = ISO8601DateFormatter()
    if argument.contains(".") { format.formatOptions.insert(.withFractionalSeconds) }
    guard let date = format.date(from: argument),
      let microseconds = UInt64(exactly: (date.timeIntervalSince1970 * 1_000_000).rounded())
    else { return nil }
    self.microseconds = microseconds
  }
}

/// A reason as a word of the command line.
enum CaptureReasonArgument: String, ExpressibleByArgument, CaseIterable {
  case rate, error, confidence, slow

  var reasons: CaptureReasons {
    switch self {
    case .rate: .rate
    case .error: .error
    case .confidence: .confidence
    case .slow: .slow
    }
  }
}

struct CaptureListCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "List segments with their times, calls and state; 1 if one is damaged.")

  @Argument(help: ArgumentHelp("Directory of captures, or one segment.", valueName: "CAPTURE"))
  var capture: String

  @Flag(help: "Print one JSON object per segment.")
  var json = false

  private struct Line: Encodable {
    var file: String
    /// `complete`, `open`, `cut` or `damaged`.
    var state: String
    var bytes: Int
    var calls: Int
    var from, to: String?
    var faults: [String]
  }

  func run() throws {
    var isWhole = true
    var table = TerminalTable([
      ("segment", .left), ("from", .left), ("to", .left), ("calls", .right), ("bytes", .right), ("state", .left),
    ])
    for file in try SegmentFile.all(at: capture) {
      guard let line = line(file) else { continue }
      if line.state == "damaged" { isWhole = false }
      if json {
        try printJSON(line)
        continue
      }
      table.append([
        (BundleOutput.plain(line.file), .plain), (line.from ?? "", .plain), (line.to ?? "", .plain),
        (BundleOutput.grouped(line.calls), .plain), (BundleOutput.grouped(line.bytes), .plain),
        (line.state, line.state == "damaged" ? .bad : .plain),
      ])
      for fault in line.faults where line.state == "damaged" { table.append(note: BundleOutput.plain(fault), .bad) }
    }
    if !json { table.print() }
    if !isWhole { throw ExitCode.failure }
  }

  private func state(of file: SegmentFile, _ summary: SegmentSummary) -> String {
    if summary.isComplete, summary.faults.isEmpty { return "complete" }
    // A missing trailer alone is the state of a segment whose writer has not ended it. Its last block may be half written
    // as long as it is open.
    guard summary.isCut, summary.faults.count == 1 else { return "damaged" }
    if file.isOpen { return "open" }
    return file.bytes == summary.wholeBytes ? "cut" : "damaged"
  }

  /// - Returns: nil for a segment that was removed since the directory was read.
  private func line(_ file: SegmentFile) -> Line? {
    let name = URL(fileURLWithPath: file.path).lastPathComponent
    do throws(CaptureError) {
      let summary = try CaptureReader.summary(of: file.path)
      return Line(
        file: name, state: state(of: file, summary), bytes: file.bytes, calls: summary.calls,
        from: summary.times.map { UnixTime.text(milliseconds: $0.lowerBound / 1000) },
        to: summary.times.map { UnixTime.text(milliseconds: $0.upperBound / 1000) },
        faults: summary.faults.map(\.message))
    } catch {
      if error.reason == .missing { return nil }
      if file.isNew { return Line(file: name, state: "open", bytes: file.bytes, calls: 0, faults: []) }
      return Line(file: name, state: "damaged", bytes: file.bytes, calls: 0, faults: [error.message])
    }
  }
}

struct CaptureShowCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show", abstract: "Count captured calls by model, version and reason, and show the last ones.")

  @OptionGroup var selection: CaptureSelection

  @Option(help: ArgumentHelp("Show the last so many calls.", valueName: "count"))
  var last = 10

  private struct Key: Hashable {
    var model: String
    var version: UInt64
  }

  private struct Count {
    var calls = 0
    var rows = 0
    var errors = 0
    var reasons: [Int] = [0, 0, 0, 0]
  }

  func validate() throws {
    guard last >= 0 else { throw ValidationError("--last: expected a number from 0, found \(last)") }
  }

  func run() throws {
    var counts: [Key: Count] = [:]
    var newest: [CapturedCall] = []
    let isWhole = try selection.query.forEachCall { call in
      var count = counts[Key(model: call.model.name, version: call.model.version)] ?? Count()
      count.calls += 1
      count.rows += call.rows
      if call.status != .ok { count.errors += 1 }
      for (index, reason) in CaptureReasonArgument.allCases.enumerated() where call.reasons.contains(reason.reasons) {
        count.reasons[index] += 1
      }
      counts[Key(model: call.model.name, version: call.model.version)] = count
      newest.append(call)
      if newest.count > 2 * last + 16 { newest.removeFirst(newest.count - last) }
      return true
    }
    var columns: [(name: String, alignment: TerminalTable.Alignment)] = [
      ("model", .left), ("version", .right), ("calls", .right), ("rows", .right), ("errors", .right),
    ]
    for reason in CaptureReasonArgument.allCases { columns.append(("for \(reason.rawValue)", .right)) }
    var table = TerminalTable(columns)
    for (key, count) in counts.sorted(by: { ($0.key.model, $0.key.version) < ($1.key.model, $1.key.version) }) {
      table.append(
        [BundleOutput.plain(key.model), "\(key.version)"]
          + ([count.calls, count.rows, count.errors] + count.reasons).map(BundleOutput.grouped))
    }
    table.print()
    if last > 0, !newest.isEmpty { printCalls(newest.suffix(last)) }
    if !isWhole { throw ExitCode.failure }
  }

  private func printCalls(_ calls: ArraySlice<CapturedCall>) {
    print("")
    var table = TerminalTable([
      ("time", .left), ("model", .left), ("id", .right), ("rows", .right), ("queue µs", .right),
      ("compute µs", .right), ("status", .left), ("captured for", .left),
    ])
    for call in calls {
      table.append([
        (UnixTime.text(milliseconds: call.microseconds / 1000), .plain),
        ("\(BundleOutput.plain(call.model.name))@\(call.model.version)", .plain), ("\(call.id)", .plain),
        ("\(call.rows)", .plain), ("\(call.queueMicroseconds)", .plain), ("\(call.computeMicroseconds)", .plain),
        ("\(call.status)", call.status == .ok ? .plain : .bad), ("\(call.reasons)", .plain),
      ])
    }
    table.print()
  }
}
