internal import Foundation
internal import NeedletailLoad

/// The output at the end of a bench.
enum BenchPrinter {
  private static let widths = [12, 16, 11, 11, 11, 10]

  static func print(_ report: LoadReport) {
    for line in report.lines(styled: styled) { Swift.print(line) }
  }

  static func printRampHeader() {
    let header = zip(["rate/s", "rows/s good", "p50", "p99", "max", "rejected"], widths).map(padded).joined()
    Swift.print(styled(header, .faint))
  }

  static func printRampStep(rate: Double, _ report: LoadReport, _ verdict: Ramp.Verdict, limit: Double?) {
    let times = report.latencyUs
    let rejected = report.answered - min(report.answered, report.statuses["OK"] ?? 0)
    let cells = [
      Figures.rate(rate), Figures.rate(report.goodputRows), times.map { Figures.time($0.p50) } ?? "-",
      times.map { Figures.time($0.p99) } ?? "-", times.map { Figures.time($0.max) } ?? "-", Figures.grouped(rejected),
    ]
    let word =
      switch verdict {
      case .holds: styled("holds", .good)
      case .latency: styled("p99 above " + Figures.time(limit ?? 0), .bad)
      case .goodput: styled("goodput gives way", .bad)
      case .generator: styled("the generator gives way", .bad)
      }
    Swift.print(zip(cells, widths).map(padded).joined() + "   " + word)
  }

  static func printKnee(_ ramp: Ramp) {
    Swift.print("")
    guard let knee = ramp.knee else {
      Swift.print(styled("No knee: the first rate did not hold. Begin lower, with --rate.", .bad))
      return
    }
    Swift.print(
      styled("Knee at \(Figures.rate(knee.rate)) requests/s", .strong)
        + "  \(Figures.rate(knee.report.goodputRows)) rows/s"
        + (knee.report.latencyUs.map { ", p50 \(Figures.time($0.p50)), p99 \(Figures.time($0.p99))" } ?? ""))
    guard let limit = ramp.limit else { return }
    let reason =
      switch limit.verdict {
      case .generator: "the generator, not the server, gives way: give it more --threads or free processors"
      case .latency: "p99 exceeds \(Figures.time(ramp.p99LimitMicroseconds ?? 0))"
      case .goodput, .holds: "fewer than 99 % of the requests get a good answer"
      }
    Swift.print(styled("At \(Figures.rate(limit.rate)) requests/s \(reason).", .faint))
  }

  private static func padded(_ cell: String, _ width: Int) -> String {
    String(repeating: " ", count: max(1, width - cell.count)) + cell
  }

  private static func styled(_ text: String, _ style: LoadReport.Style) -> String {
    switch style {
    case .plain: text
    case .strong: TerminalTable.isColoured ? "\u{1b}[1m\(text)\u{1b}[0m" : text
    case .good: TerminalTable.styled(text, .good)
    case .bad: TerminalTable.styled(text, .bad)
    case .faint: TerminalTable.styled(text, .faint)
    }
  }
}

/// The progress of a run on standard error: one line that is rewritten on a terminal, plain lines elsewhere.
struct ProgressLine {
  /// Time between two updates.
  let interval: Duration

  private let plan: LoadPlan
  private let title: String
  private let isQuiet: Bool
  private let isTerminal = isatty(STDERR_FILENO) == 1
  private let isColoured: Bool
  private static let barCells = 16

  /// - Parameter isQuiet: whether output is left out that does not go to a terminal.
  init(_ plan: LoadPlan, title: String, isQuiet: Bool) {
    self.plan = plan
    self.title = title
    self.isQuiet = isQuiet
    isColoured = isTerminal && ProcessInfo.processInfo.environment["NO_COLOR"] == nil
    interval = isTerminal ? .milliseconds(250) : .seconds(2)
  }

  mutating func show(_ progress: LoadProgress) {
    guard isTerminal || !isQuiet else { return }
    if isTerminal {
      // A line that wraps could not be rewritten.
      write("\r\u{1b}[2K" + Figures.fitting([bar(progress)] + figures(progress), columns: Self.columns - 1))
    } else {
      let words = [time(progress)] + figures(progress).map(\.text)
      write(words.joined(separator: "  ") + "\n")
    }
  }

  /// Restores the terminal.
  func clear() {
    if isTerminal { write("\r\u{1b}[2K") }
  }

  private var total: Double { plan.warmup.inSeconds + plan.duration.inSeconds }

  private func time(_ progress: LoadProgress) -> String {
    (title.isEmpty ? "" : "\(title)  ") + "\(Int(progress.elapsed.inSeconds.rounded())) s"
  }

  /// Parts of the line, most important first; those that do not fit are left out.
  private func figures(_ progress: LoadProgress) -> [(text: String, styled: String)] {
    func plain(_ text: String) -> (text: String, styled: String) { (text, text) }
    switch progress.phase {
    case .warmingUp: return [plain("warming up")]
    case .draining: return [plain("waiting for the last answers")]
    case .measuring: break
    }
    let interval = progress.interval
    let seconds = max(progress.intervalSeconds, 1e-3)
    let good = "\(Figures.rate(Double(interval.goodRows) / seconds)) rows/s good"
    var parts = [plain("\(Figures.rate(Double(interval.sent) / seconds)) req/s"), (good, styled(good, "32"))]
    let faults = [
      ("rejected", interval.refused), ("lost", interval.lost + interval.unanswered + interval.expired),
      ("wrong", interval.wrong + interval.mixed),
    ]
    for (name, count) in faults where count > 0 {
      let text = "\(Figures.grouped(count)) \(name)"
      parts.append((text, styled(text, "31")))
    }
    if let p50 = LoadStatistics.microseconds(interval.latency, 50),
      let p99 = LoadStatistics.microseconds(interval.latency, 99)
    {
      parts += [plain("p50 \(Figures.time(p50))"), plain("p99 \(Figures.time(p99))")]
    }
    return parts
  }

  private func bar(_ progress: LoadProgress) -> (text: String, styled: String) {
    let elapsed = min(progress.elapsed.inSeconds, total)
    let full = Int((elapsed / total * Double(Self.barCells)).rounded(.down))
    let head = title.isEmpty ? "" : "\(title)  "
    let done = String(repeating: "━", count: full)
    let left = String(repeating: "━", count: Self.barCells - full)
    let clock = " \(Int(elapsed.rounded()))/\(Figures.seconds(total.rounded()))"
    let colour = progress.phase == .measuring ? "32" : "33"
    return (head + done + left + clock, styled(head, "1") + styled(done, colour) + styled(left, "2") + clock)
  }

  /// Width of the terminal at this moment, because people resize it.
  private static var columns: Int {
    var size = winsize()
    return ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0 ? Int(size.ws_col) : 80
  }

  private func styled(_ text: String, _ code: String) -> String {
    isColoured && !text.isEmpty ? "\u{1b}[\(code)m\(text)\u{1b}[0m" : text
  }

  private func write(_ text: String) { FileHandle.standardError.write(Data(text.utf8)) }
}
