public import NeedletailCore

/// Turns the course of a search into text: a line for each better model, and below them one that is redrawn. A log gets
/// a line now and then.
///
/// It writes nothing itself: states and times go in, text to write comes out.
public struct TuningDisplay: Sendable {
  private let terminal: Terminal
  private var lastShown: Instant?
  private var isLineOpen = false

  /// Time between two lines in a log: a search takes minutes to hours.
  static let lineMicroseconds: UInt32 = 30_000_000

  public init(terminal: Terminal) { self.terminal = terminal }

  /// A better model.
  public mutating func show(_ leader: TuningLeader) -> String {
    let facts =
      "best \(leader.metric) \(Figures.short(leader.figure))  \(leader.name)  "
      + "fit \(Figures.duration(leader.fitSeconds)), \(Figures.microseconds(leader.microsecondsPerRow)) a row"
    return finish() + "  " + String(facts.prefix(max(terminal.width - 3, 1))) + "\n"
  }

  /// - Returns: text to write; empty while nothing is due.
  public mutating func show(_ progress: TuningProgress, now: Instant) -> String {
    guard terminal.isInteractive else {
      // The first line of a log comes after the first interval.
      let last = lastShown ?? now
      if lastShown == nil { lastShown = now }
      guard now.microseconds(since: last) >= Self.lineMicroseconds else { return "" }
      lastShown = now
      return "  " + Self.facts(progress) + "\n"
    }
    if let lastShown, now.microseconds(since: lastShown) < ProgressDisplay.redrawMicroseconds { return "" }
    lastShown = now
    isLineOpen = true
    return "\r\u{1B}[2K" + line(progress)
  }

  /// Text that ends a redrawn line, to be written before anything else.
  public mutating func finish() -> String {
    defer { isLineOpen = false }
    return isLineOpen ? "\r\u{1B}[2K" : ""
  }

  private static func facts(_ progress: TuningProgress) -> String {
    let done = progress.complete + progress.pruned + progress.failed
    var facts = "\(done)" + (progress.trialsMax > 0 ? "/\(progress.trialsMax)" : "") + " trials"
    if progress.pruned > 0 { facts += ", \(progress.pruned) pruned" }
    if progress.failed > 0 { facts += ", \(progress.failed) failed" }
    if let best = progress.best { facts += "  best \(Figures.short(best))" }
    let left = max(progress.secondsMax - progress.seconds, 0)
    return facts + (left > 0 ? "  \(Figures.duration(left)) left" : "  ending")
  }

  func line(_ progress: TuningProgress) -> String {
    var share = progress.secondsMax > 0 ? progress.seconds / progress.secondsMax : 1
    let done = progress.complete + progress.pruned + progress.failed
    if progress.trialsMax > 0 { share = max(share, Double(done) / Double(progress.trialsMax)) }
    var facts = Self.facts(progress)
    // What is being tried, as far as there is room beside a bar of the least width.
    let now = progress.running.joined(separator: ", ")
    if !now.isEmpty, facts.count + now.count + 8 + 8 < terminal.width { facts += "  " + terminal.dim(now) }
    let shown = facts.count - (terminal.hasColour && facts.contains("\u{1B}") ? terminal.dim("").count : 0)
    let room = min(30, terminal.width - shown - 6)
    guard room >= 8 else { return String(facts.prefix(max(terminal.width - 1, 1))) }
    return "  " + terminal.cyan(ProgressDisplay.bar(share, width: room)) + "  " + facts
  }
}

extension ResultsTable {
  /// Models that are shown; leaderboard.json has all.
  private static let leadersShownMax = 10

  /// The best trials of a search, for people.
  public func render(_ leaders: [TuningLeader]) -> String {
    guard let metric = leaders.first?.metric else { return "" }
    let words = metric.split(separator: "_").joined(separator: " ")
    let rows = leaders.prefix(Self.leadersShownMax).map { leader in
      [
        leader.name, Figures.short(leader.figure), Figures.duration(leader.fitSeconds),
        Figures.microseconds(leader.microsecondsPerRow),
      ]
    }
    var lines = Self.aligned([["trial", words, "fit", "one row"]] + rows)
    lines[0] = terminal.bold(lines[0])
    if leaders.count > rows.count { lines.append(terminal.dim("\(leaders.count - rows.count) more: leaderboard.json")) }
    return lines.map { "  " + $0 + "\n" }.joined()
  }
}

extension TunedModel {
  /// Every figure of the model, as `train` reports them, and the search.
  public func metrics(version: ModelVersion, bundleBytes: Int) -> Document {
    model.metrics(version: version, bundleBytes: bundleBytes)
      .adding(
        "tuning",
        .section([
          .init("metric", .text(leaderboard.first?.metric ?? "")), .init("trials", .integer(leaderboard.count)),
          .init("best", (leaderboard.first?.figure).map { .number($0) } ?? .null),
        ]))
  }

  /// All complete trials, the best first.
  var leaderboardDocument: Document {
    .list(
      leaderboard.map { leader in
        .section([
          .init("name", .text(leader.name)), .init(leader.metric, .number(leader.figure)),
          .init("fit_seconds", .number(leader.fitSeconds)),
          .init("microseconds_per_row", .number(leader.microsecondsPerRow)),
          .init("settings", .list(leader.settings.map { .text($0) })),
        ])
      })
  }
}

extension RunFiles {
  /// Writes the settings of the best model, and all trials.
  public func write(_ tuned: TunedModel) throws(TrainingError) {
    try write(Array(tuned.configuration.yaml.utf8), to: "best.yaml")
    try write(Array(tuned.leaderboardDocument.json.utf8), to: "leaderboard.json")
  }
}
