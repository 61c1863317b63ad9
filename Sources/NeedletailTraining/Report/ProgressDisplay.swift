public import NeedletailCore

/// Turns epoch reports into text: one line that is redrawn on a terminal, a line now and then elsewhere.
///
/// It writes nothing itself: reports and times go in, text to write comes out.
public struct ProgressDisplay {
  private let terminal: Terminal
  private let start: Instant
  private var lastShown: Instant?
  private var isLineOpen = false

  /// Shortest time between two drawings on a terminal, and between two lines in a log.
  static let redrawMicroseconds: UInt32 = 100_000
  static let lineMicroseconds: UInt32 = 2_000_000

  public init(terminal: Terminal, start: Instant) {
    self.terminal = terminal
    self.start = start
  }

  /// - Returns: text to write; nil while nothing is due.
  public mutating func show(_ report: EpochReport, now: Instant) -> String? {
    let isEdge = report.epoch == 1 || report.epoch == report.epochCount
    let interval = terminal.isInteractive ? Self.redrawMicroseconds : Self.lineMicroseconds
    if let lastShown, !isEdge, now.microseconds(since: lastShown) < interval { return nil }
    lastShown = now
    let seconds = Double(now.microseconds(since: start)) / 1e6
    let left = seconds / Double(report.epoch) * Double(report.epochCount - report.epoch)
    guard terminal.isInteractive else { return Self.facts(report, left: left) + "\n" }
    isLineOpen = true
    return "\r\u{1B}[2K" + barLine(report, left: left)
  }

  /// Text that ends a redrawn line, to be written before anything else.
  public mutating func finish() -> String {
    defer { isLineOpen = false }
    return isLineOpen ? "\n" : ""
  }

  private static func facts(_ report: EpochReport, left: Double) -> String {
    let digits = String(report.epochCount).count
    let epoch = String(report.epoch)
    var text = "epoch " + String(repeating: " ", count: max(0, digits - epoch.count)) + epoch + "/\(report.epochCount)"
    text += "  loss \(Figures.fixed(report.loss, 4))"
    if let metric = report.validationMetric {
      text += "  \(report.metricName) \(Figures.fixed(metric, 4))"
    }
    if let best = report.bestMetric {
      text += "  best \(Figures.fixed(best, 4)) at \(report.bestEpoch)"
    }
    return text + "  ETA \(Figures.duration(left))"
  }

  private func barLine(_ report: EpochReport, left: Double) -> String {
    let facts = Self.facts(report, left: left)
    let room = min(30, terminal.width - facts.count - 6)
    guard room >= 8 else { return String(facts.prefix(max(terminal.width - 1, 1))) }
    let share = Double(report.epoch) / Double(report.epochCount)
    return "  " + terminal.cyan(Self.bar(share, width: room)) + "  " + facts
  }

  /// Bar of block characters; eighths of a cell make it move smoothly.
  ///
  /// - Parameter share: 0…1, beyond it clamped.
  static func bar(_ share: Double, width: Int) -> String {
    let eighths = Int((min(max(share, 0), 1) * Double(width * 8)).rounded())
    let full = eighths / 8
    var bar = String(repeating: "█", count: full)
    if full < width {
      bar += eighths % 8 == 0 ? "░" : String(["▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8 - 1])
      bar += String(repeating: "░", count: width - full - 1)
    }
    return bar
  }
}
