internal import Foundation
internal import NeedletailLoad

/// Tells on standard error how a run goes: one line that is rewritten on a terminal, plain lines elsewhere.
struct ProgressLine {
  /// How often it wants to hear.
  let interval: Duration

  private let plan: LoadPlan
  private let title: String
  private let isQuiet: Bool
  private let isTerminal = isatty(STDERR_FILENO) == 1
  private let isColoured: Bool
  private static let barCells = 16

  /// - Parameter isQuiet: nothing but a terminal is told.
  init(_ plan: LoadPlan, title: String, isQuiet: Bool) {
    self.plan = plan
    self.title = title
    self.isQuiet = isQuiet
    isColoured = isTerminal && ProcessInfo.processInfo.environment["NO_COLOR"] == nil
    interval = isTerminal ? .milliseconds(250) : .seconds(2)
  }

  mutating func show(_ progress: LoadProgress) {
    guard isTerminal || !isQuiet else { return }
    let text = figures(progress)
    if isTerminal {
      write("\r\u{1b}[2K" + bar(progress) + "  " + text)
    } else {
      write("\(time(progress))  \(text)\n")
    }
  }

  /// Leaves the terminal as it was.
  func clear() {
    if isTerminal { write("\r\u{1b}[2K") }
  }

  private var total: Double { plan.warmup.inSeconds + plan.duration.inSeconds }

  private func time(_ progress: LoadProgress) -> String {
    (title.isEmpty ? "" : "\(title)  ") + "\(Int(progress.elapsed.inSeconds.rounded())) s"
  }

  private func figures(_ progress: LoadProgress) -> String {
    switch progress.phase {
    case .warmingUp: return "warming up"
    case .draining: return "waiting for the last answers"
    case .measuring: break
    }
    let interval = progress.interval
    let seconds = max(progress.intervalSeconds, 1e-3)
    var parts = ["\(Figures.rate(Double(interval.sent) / seconds)) req/s"]
    parts.append(styled("\(Figures.rate(Double(interval.goodRows) / seconds)) rows/s good", "32"))
    if let p50 = LoadStatistics.microseconds(interval.latency, 50),
      let p99 = LoadStatistics.microseconds(interval.latency, 99)
    {
      parts.append("p50 \(Figures.time(p50))  p99 \(Figures.time(p99))")
    }
    let faults = [
      ("rejected", interval.refused), ("lost", interval.lost + interval.unanswered + interval.expired),
      ("wrong", interval.wrong + interval.mixed),
    ]
    for (name, count) in faults where count > 0 { parts.append(styled("\(Figures.grouped(count)) \(name)", "31")) }
    return parts.joined(separator: "  ")
  }

  private func bar(_ progress: LoadProgress) -> String {
    let elapsed = min(progress.elapsed.inSeconds, total)
    let full = Int((elapsed / total * Double(Self.barCells)).rounded(.down))
    let head = title.isEmpty ? "" : styled("\(title)  ", "1")
    return head + styled(String(repeating: "━", count: full), progress.phase == .measuring ? "32" : "33")
      + styled(String(repeating: "━", count: Self.barCells - full), "2")
      + " \(Int(elapsed.rounded()))/\(Figures.seconds(total.rounded()))"
  }

  private func styled(_ text: String, _ code: String) -> String {
    isColoured && !text.isEmpty ? "\u{1b}[\(code)m\(text)\u{1b}[0m" : text
  }

  private func write(_ text: String) { FileHandle.standardError.write(Data(text.utf8)) }
}
