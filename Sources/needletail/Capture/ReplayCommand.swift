internal import ArgumentParser
internal import Foundation
internal import NeedletailCapture
internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailReplay

/// `needletail replay CAPTURE --model churn@7`: yesterday's calls as a regression test.
struct ReplayCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "replay",
    abstract: "Ask captured calls again, and compare the answers bit for bit.",
    discussion: """
      --model names a version at a server, or a bundle file, which needs no server. Its answers are compared with the \
      captured ones, or, with --against, with those of another version or bundle. Calls are asked in the order of the \
      capture. The exit status is 1 where more calls differ than --allow permits.

      Left out, and counted, are calls whose features were redacted, and calls that ended for a reason of that moment, \
      such as an overload.

        needletail replay /var/lib/needletail/capture --model churn@7
        needletail replay capture/ --model churn-8.ntb --against churn@7 --allow 0.01 --tolerance 0.001
        needletail replay capture/ --model churn@canary --pace recorded
      """)

  @Argument(help: ArgumentHelp("Directory of captures, or one segment.", valueName: "CAPTURE"))
  var capture: String

  @Option(help: ArgumentHelp("What is asked.", valueName: "MODEL[@VERSION]|FILE.ntb"))
  var model: String

  @Option(
    help: ArgumentHelp(
      "What its answers are compared with; else the captured ones.", valueName: "MODEL[@VERSION]|FILE.ntb"))
  var against: String?

  @Option(
    help: ArgumentHelp("Only calls captured of this model; else of the one that --model names.", valueName: "name"))
  var captured: String?

  @Option(help: ArgumentHelp("Only calls that this version answered.", valueName: "n"))
  var version: UInt64?

  @Option(help: ArgumentHelp("Share of calls that may differ, from 0 to 1.", valueName: "share"))
  var allow = 0.0

  @Option(
    help: ArgumentHelp("Largest difference of two numbers that counts as none; else every bit counts.", valueName: "x"))
  var tolerance = 0.0

  @Option(
    help: ArgumentHelp("Pauses between calls: none, as recorded, or so many times faster.", valueName: "max|recorded|n")
  )
  var pace = ReplayPace.max

  @Option(help: ArgumentHelp("Calls asked at a time, at a server.", valueName: "n"))
  var inFlight = 32

  @Option(help: ArgumentHelp("Differing calls that are shown.", valueName: "n"))
  var show = 5

  @Flag(help: "Print one JSON object.")
  var json = false

  @OptionGroup var server: ServerOptions

  func validate() throws {
    guard (0...1).contains(allow) else {
      throw ValidationError("--allow: expected a share from 0 to 1, found \(allow)")
    }
    guard tolerance >= 0, tolerance.isFinite else {
      throw ValidationError("--tolerance: expected a number from 0, found \(tolerance)")
    }
    guard (1...4096).contains(inFlight) else {
      throw ValidationError("--in-flight: expected a number from 1 to 4096, found \(inFlight)")
    }
    guard show >= 0 else { throw ValidationError("--show: expected a number from 0, found \(show)") }
  }

  func run() async throws {
    try InstructionSet.validateEnvironment()
    let needsServer = [model, against].contains { $0.map { !$0.hasSuffix(".ntb") } ?? false }
    let report: ReplayReport
    if needsServer {
      report = try await server.withClient { client in
        try await replay { try ReplayTargets.target($0, client) }
      }
    } else {
      report = try await replay { try ReplayTargets.target($0, nil) }
    }
    if json { try printJSON(report) } else { report.print() }
    guard report.compared > 0 else { throw Failure("\(capture): expected calls that can be asked again, found none") }
    if !report.allows(allow) { throw ExitCode.failure }
  }

  private func replay(_ target: (String) throws -> any ReplayTarget) async throws -> ReplayReport {
    let asked = try target(model)
    let other = try against.map(target)
    let query = CaptureQuery(capture: capture, model: captured ?? asked.model, version: version, notice: notice)
    var report = ReplayReport(
      model: asked.name, against: other?.name ?? "capture", tolerance: tolerance, showMax: show)
    var clock = pace.clock
    let reader = CaptureBatches(query, size: asked.isRemote || other?.isRemote == true ? inFlight : 256)
    while let calls = try reader.next() {
      try await clock.wait(for: calls)
      let pairs = try await ReplayTargets.answers(calls.filter { !report.leavesOut($0) }, asked, other)
      for pair in pairs { report.add(pair) }
    }
    report.isWhole = reader.isWhole
    return report
  }
}

/// Pauses between calls.
enum ReplayPace: ExpressibleByArgument {
  case max
  /// So many times as fast as they came.
  case times(Double)

  init?(argument: String) {
    switch argument {
    case "max": self = .max
    case "recorded": self = .times(1)
    default:
      guard let factor = Double(argument), factor > 0, factor.isFinite else { return nil }
      self = .times(factor)
    }
  }

  var defaultValueDescription: String {
    switch self {
    case .max: "max"
    case .times(let factor): factor == 1 ? "recorded" : "\(factor)"
    }
  }

  var clock: ReplayClock { ReplayClock(pace: self) }
}

/// Holds calls back until their time has come.
struct ReplayClock {
  fileprivate let pace: ReplayPace
  private var start: (call: UInt64, now: ContinuousClock.Instant)?

  fileprivate init(pace: ReplayPace) { self.pace = pace }

  /// Waits until the last of some calls is due.
  mutating func wait(for calls: [CapturedCall]) async throws {
    guard case .times(let factor) = pace, let first = calls.first, let last = calls.last else { return }
    let begin = start ?? (call: first.microseconds, now: ContinuousClock.now)
    start = begin
    // Calls of several loops stand nearly in the order of time.
    let offset = Double(Int64(clamping: last.microseconds) - Int64(clamping: begin.call)) / factor
    guard offset > 0 else { return }
    // Recorded times and the pace may name any time: more than thirty years is as good as never.
    let microseconds = Int64(min(offset, 1e15))
    try await Task.sleep(until: begin.now.advanced(by: .microseconds(microseconds)), clock: .continuous)
  }
}
