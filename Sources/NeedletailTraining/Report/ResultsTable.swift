internal import Foundation
internal import Glibc
internal import NeedletailBundle
public import NeedletailCore
internal import NeedletailEngine

/// Abilities of a stream: colours and redrawn lines on a terminal, plain text elsewhere.
public struct Terminal: Sendable {
  /// True where a line can be drawn again.
  public let isInteractive: Bool
  public let hasColour: Bool
  /// Columns of the window.
  public let width: Int

  public init(isInteractive: Bool, hasColour: Bool, width: Int) {
    self.isInteractive = isInteractive
    self.hasColour = hasColour
    self.width = width
  }

  /// - Parameter descriptor: 1 or 2. `NO_COLOR` and `TERM=dumb` are honoured.
  public init(descriptor: Int32) {
    let isTerminal = isatty(descriptor) == 1
    let isDumb = getenv("TERM").map { String(cString: $0) == "dumb" } ?? true
    var size = winsize()
    let hasSize = isTerminal && ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0
    self.init(
      isInteractive: isTerminal && !isDumb, hasColour: isTerminal && !isDumb && getenv("NO_COLOR") == nil,
      width: hasSize ? Int(size.ws_col) : 80)
  }

  /// A log file or a pipe.
  public static let plain = Terminal(isInteractive: false, hasColour: false, width: 80)

  func bold(_ text: String) -> String { paint("1", text) }
  func dim(_ text: String) -> String { paint("2", text) }
  func yellow(_ text: String) -> String { paint("33", text) }
  func cyan(_ text: String) -> String { paint("36", text) }

  private func paint(_ code: String, _ text: String) -> String {
    hasColour ? "\u{1B}[\(code)m\(text)\u{1B}[0m" : text
  }
}

/// Turns epoch reports into text: one line that is redrawn on a terminal, a line now and then elsewhere.
///
/// It writes nothing itself: reports and times go in, text to write comes out.
public struct ProgressDisplay: Sendable {
  let terminal: Terminal
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
    // The first step often warms up what the others find warm, and says nothing of them yet.
    let left =
      report.epoch > 1 && report.epochCount > 0
      ? seconds / Double(report.epoch) * Double(max(report.epochCount - report.epoch, 0)) : .nan
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
    let digits = report.epochCount > 0 ? String(report.epochCount).count : 0
    let epoch = String(report.epoch)
    var text = "\(report.stepName) " + String(repeating: " ", count: max(0, digits - epoch.count)) + epoch
    if report.epochCount > 0 { text += "/\(report.epochCount)" }
    if !report.loss.isNaN { text += "  loss \(Figures.fixed(report.loss, 4))" }
    if let metric = report.validationMetric {
      text += "  \(report.metricName) \(Figures.fixed(metric, 4))"
    }
    if let best = report.bestMetric {
      text += "  best \(Figures.fixed(best, 4)) at \(report.bestEpoch)"
    }
    return left.isNaN ? text : text + "  ETA \(Figures.duration(left))"
  }

  private func barLine(_ report: EpochReport, left: Double) -> String {
    let facts = Self.facts(report, left: left)
    let room = min(30, terminal.width - facts.count - 6)
    guard room >= 8, report.epochCount > 0 else { return String(facts.prefix(max(terminal.width - 1, 1))) }
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

/// Table that a run ends with, for people.
public struct ResultsTable {
  let terminal: Terminal

  public init(terminal: Terminal) { self.terminal = terminal }

  /// - Parameters:
  ///   - version: version that the bundle was given.
  ///   - paths: what was written, and where: `("bundle", "out/model.ntb")`.
  public func render(
    _ trained: TrainedModel, version: ModelVersion, bundleBytes: Int, paths: [(label: String, path: String)]
  ) -> String {
    var lines = heading(trained, version)
    lines.append("")
    lines += figures(trained, bundleBytes: bundleBytes)
    lines.append("")
    lines += importance(trained)
    lines.append("  " + terminal.dim("quantisation") + "  " + trained.quantisation)
    for note in trained.notes { lines.append("  " + terminal.dim("training    ") + "  " + note) }
    for warning in trained.warnings { lines.append("  " + terminal.yellow("warning     ") + "  " + warning) }
    for path in paths {
      let label = path.label + String(repeating: " ", count: max(0, 12 - path.label.count))
      lines.append("  " + terminal.dim(label) + "  " + path.path)
    }
    return lines.joined(separator: "\n") + "\n"
  }

  /// The same for an imported model.
  ///
  /// - Parameters:
  ///   - version: version that the bundle was given.
  ///   - paths: what was written, and where.
  public func render(
    _ imported: ImportedBundle, version: ModelVersion, bundleBytes: Int, paths: [(label: String, path: String)]
  ) -> String {
    let trees = imported.treeCount == 1 ? "1 tree" : "\(Figures.count(imported.treeCount)) trees"
    var lines = [
      terminal.bold("  \(imported.model) \(version)") + "  \(imported.source) · \(imported.objective)",
      "  "
        + terminal.dim(
          "\(trees) · \(Figures.count(imported.leafCount)) leaves · \(Figures.count(imported.featureCount)) features · "
            + Figures.bytes(bundleBytes)),
      "",
    ]
    let check = imported.agreement ?? "none: --data and --expected compare the answers with the library's"
    lines.append("  " + terminal.dim("comparison  ") + "  " + check)
    if let contributions = imported.contributions {
      lines.append("  " + terminal.dim("contribution") + "  " + contributions)
    }
    for note in imported.notes { lines.append("  " + terminal.dim("note        ") + "  " + note) }
    for path in paths {
      let label = path.label + String(repeating: " ", count: max(0, 12 - path.label.count))
      lines.append("  " + terminal.dim(label) + "  " + path.path)
    }
    return lines.joined(separator: "\n") + "\n"
  }

  /// Features that are shown; metrics.json has all.
  private static let featuresShownMax = 10

  /// The features that matter most, by the mean magnitude of their contributions where there are some, else by gain.
  private func importance(_ trained: TrainedModel) -> [String] {
    let features = trained.importance
    guard features.contains(where: { $0.gainShare > 0 }) else { return [] }
    let sorted = features.sorted { ($0.meanContribution ?? $0.gainShare) > ($1.meanContribution ?? $1.gainShare) }
    let isMeasured = features.contains { $0.permutation != nil }
    let isExplained = features.contains { $0.meanContribution != nil }
    let metric = FeatureUse.metric(trained.data.task).split(separator: "_").joined(separator: " ")
    var head = ["importance", "gain", "splits"]
    if isMeasured { head.append("\(metric) when shuffled") }
    if isExplained { head.append("mean contribution") }
    let rows = sorted.prefix(Self.featuresShownMax).map { feature in
      var row = [
        feature.name.escapingControls, Figures.fixed(feature.gainShare * 100, 0) + " %", Figures.count(feature.splits),
      ]
      if isMeasured {
        let found = feature.permutation ?? .init(mean: 0, deviation: 0)
        row.append("\(Self.signed(found.mean)) ± \(Self.text(found.deviation))")
      }
      if isExplained { row.append(Figures.short(feature.meanContribution ?? 0)) }
      return row
    }
    let largest = sorted[0].meanContribution ?? sorted[0].gainShare
    var lines = Self.aligned([head] + rows).enumerated().map { index, line in
      guard index > 0 else { return "  " + terminal.bold(line) }
      let own = sorted[index - 1].meanContribution ?? sorted[index - 1].gainShare
      let bar = largest > 0 ? String(repeating: "█", count: Int((own / largest * 16).rounded())) : ""
      return "  " + line + (bar.isEmpty ? "" : "   " + terminal.cyan(bar))
    }
    let others = features.count - rows.count
    if others > 0 { lines.append("  " + terminal.dim("\(Figures.count(others)) more features: metrics.json has all")) }
    return lines + [""]
  }

  private func heading(_ trained: TrainedModel, _ version: ModelVersion) -> [String] {
    let configuration = trained.configuration
    let data = trained.data
    let schema = trained.contents.definition.schema
    var rows =
      "\(Figures.count(data.split.train.count)) training, \(Figures.count(data.split.validation.count)) validation, "
      + "\(Figures.count(data.split.test.count)) test rows · \(Figures.count(schema.features.count)) features"
    if !data.labels.isEmpty { rows += " · \(data.labels.count) classes" }
    var lines = [
      terminal.bold("  \(configuration.model) \(version)")
        + "  \(configuration.family.name) · \(trained.precision) · fitted in \(Figures.duration(trained.fitSeconds))",
      "  " + terminal.dim(rows),
    ]
    if data.dataset.duplicatesDropped + data.dataset.unlabelledDropped > 0 {
      lines.append(
        "  "
          + terminal.dim(
            "\(Figures.count(data.dataset.rowsRead)) rows read, \(Figures.count(data.dataset.duplicatesDropped)) duplicates and "
              + "\(Figures.count(data.dataset.unlabelledDropped)) rows without a target dropped"))
    }
    return lines
  }

  private func figures(_ trained: TrainedModel, bundleBytes: Int) -> [String] {
    let isQuantised = !trained.decision.int8Layers.isEmpty
    let weighted = trained.chosen.test.weighted
    var rows: [[String]] = [isQuantised ? ["test", "fp32", trained.precision, "change"] : ["test", "fp32"]]
    if !weighted.isEmpty { rows[0].append("by weight") }
    for (index, figure) in trained.fp32TestFigures.enumerated() {
      var row = [figure.name.split(separator: "_").joined(separator: " "), Self.text(figure.value)]
      if isQuantised {
        let value = trained.testFigures[index].value
        row += [Self.text(value), Self.signed(value - figure.value)]
      }
      if !weighted.isEmpty { row.append(weighted.first { $0.name == figure.name }.map { Self.text($0.value) } ?? "–") }
      rows.append(row)
    }
    var weights = ["weights", Figures.bytes(trained.fp32.weightBytes)]
    var latency = ["one row", Figures.microseconds(trained.fp32.microsecondsPerRow)]
    if isQuantised {
      weights += [
        Figures.bytes(trained.chosen.tensorBytes),
        Self.ratio(Double(trained.chosen.tensorBytes), Double(trained.fp32.tensorBytes)),
      ]
      latency += [
        Figures.microseconds(trained.chosen.microsecondsPerRow),
        Self.ratio(trained.chosen.microsecondsPerRow, trained.fp32.microsecondsPerRow),
      ]
    }
    rows += [weights, latency, ["bundle", (isQuantised ? "" : Figures.bytes(bundleBytes))]]
    if isQuantised { rows[rows.count - 1] += [Figures.bytes(bundleBytes), ""] }
    return Self.aligned(rows).enumerated().map { index, row in
      "  " + (index == 0 ? terminal.bold(row) : row)
    }
  }

  /// Rows padded to columns: the first to the left, the others to the right.
  static func aligned(_ rows: [[String]]) -> [String] {
    let columns = rows.map(\.count).max() ?? 0
    let widths = (0..<columns).map { column in rows.map { $0.count > column ? $0[column].count : 0 }.max() ?? 0 }
    return rows.map { row in
      row.enumerated().map { column, text in
        let padding = String(repeating: " ", count: widths[column] - text.count)
        return column == 0 ? text + padding : padding + text
      }.joined(separator: "   ")
    }
  }

  private static func text(_ value: Double) -> String {
    abs(value) >= 100 ? Figures.fixed(value, 2) : Figures.fixed(value, 4)
  }

  private static func signed(_ value: Double) -> String {
    (value < 0 ? "−" : "+") + text(abs(value))
  }

  private static func ratio(_ a: Double, _ b: Double) -> String {
    b > 0 ? "× " + Figures.fixed(a / b, 2) : ""
  }
}
