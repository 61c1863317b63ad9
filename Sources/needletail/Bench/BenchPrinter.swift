internal import NeedletailLoad

/// What a bench prints in the end.
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
