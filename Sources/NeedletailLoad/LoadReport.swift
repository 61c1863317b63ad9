internal import Histogram
internal import NeedletailCore

/// The figures of one run, for programs. Rates are per second of the measured time, times microseconds.
public struct LoadReport: Encodable, Sendable {
  public struct Percentiles: Encodable, Sendable, Equatable {
    public var p50: Double
    public var p90: Double
    public var p99: Double
    public var p999: Double
    public var max: Double

    init?(_ histogram: Histogram<UInt64>) {
      guard histogram.totalCount > 0 else { return nil }
      func at(_ percentile: Double) -> Double { LoadStatistics.microseconds(histogram, percentile) ?? 0 }
      (p50, p90, p99, p999, max) = (at(50), at(90), at(99), at(99.9), at(100))
    }
  }

  public struct Version: Encodable, Sendable, Equatable {
    public var model: String
    public var version: UInt64
    public var answers: UInt64
  }

  public var models: [String]
  /// `open` or `closed`.
  public var loop: String
  /// Rate asked for; nil in a closed loop.
  public var arrivals: String?
  public var rateIntended: Double?
  public var connections: Int
  public var depth: Int
  public var threads: Int
  /// Rows of one request.
  public var batch: Int
  public var seconds: Double

  public var offered: UInt64
  public var sent: UInt64
  public var answered: UInt64
  /// Answers with `OK` within the timeout that are right as far as known.
  public var good: UInt64
  public var goodput: Double
  public var goodputRows: Double
  public var statuses: [String: UInt64]
  public var late: UInt64
  /// Answers with `OK` although the server says that the timeout had passed before it began to compute.
  public var ranLate: UInt64
  public var lost: UInt64
  public var unanswered: UInt64
  public var expired: UInt64
  public var unsent: UInt64
  public var heldBack: UInt64
  public var strayAnswers: UInt64
  public var connectionsLost: UInt64
  public var connectFailures: UInt64
  public var verified: UInt64
  public var wrong: UInt64
  public var mixed: UInt64
  public var versions: [Version]
  /// Latencies of `OK` answers; nil without one.
  public var latencyUs: Percentiles?
  /// Latencies of answers other than `OK`, that is of rejections; nil without one.
  public var refusalUs: Percentiles?
  /// Delay of requests that the generator itself caused; nil in a closed loop.
  public var lagUs: Percentiles?
  /// Whether the generator missed its schedule, so that its own delay is part of the latencies.
  public var generatorBehind: Bool

  /// Delay at p99 above which it is no longer noise.
  private static let lagMicrosecondsMax = 1000.0

  public init(_ plan: LoadPlan, _ statistics: LoadStatistics) {
    models = plan.names
    switch plan.pacing {
    case .open(let rate, let arrivals):
      loop = "open"
      self.arrivals = arrivals.rawValue
      rateIntended = rate
    case .closed: loop = "closed"
    }
    connections = max(plan.connections, plan.threads)
    depth = plan.depth
    threads = plan.threads
    batch = plan.frames.frames.map(\.rows).max() ?? 0
    seconds = plan.duration.inSeconds
    offered = statistics.offered
    sent = statistics.sent
    answered = statistics.answered
    good = statistics.good
    goodput = Double(statistics.good) / seconds
    goodputRows = Double(statistics.goodRows) / seconds
    statuses = [:]
    for status in StatusCode.allCases where statistics.byStatus[Int(status.rawValue)] > 0 {
      statuses[status.description] = statistics.byStatus[Int(status.rawValue)]
    }
    late = statistics.late
    ranLate = statistics.ranLate
    lost = statistics.lost
    unanswered = statistics.unanswered
    expired = statistics.expired
    unsent = statistics.unsent
    heldBack = statistics.heldBack
    strayAnswers = statistics.strayAnswers
    connectionsLost = statistics.connectionsLost
    connectFailures = statistics.connectFailures
    verified = statistics.verified
    wrong = statistics.wrong
    mixed = statistics.mixed
    versions = statistics.versions
      .map { Version(model: plan.names[$0.model], version: $0.version, answers: $0.answers) }
      .sorted { ($0.model, $0.version) < ($1.model, $1.version) }
    latencyUs = Percentiles(statistics.latency)
    refusalUs = Percentiles(statistics.refusal)
    lagUs = Percentiles(statistics.lag)
    let isUnsentByItself = statistics.heldBack == 0 && statistics.unsent * 1000 > statistics.offered
    generatorBehind = loop == "open" && ((lagUs?.p99 ?? 0) > Self.lagMicrosecondsMax || isUnsentByItself)
  }

  /// The reason why the run counts as failed, in one sentence; nil: it did not fail.
  public var failure: String? {
    if wrong + mixed + strayAnswers > 0 {
      return
        "expected right answers only, found \(wrong) wrong, \(mixed) of a mixed version, \(strayAnswers) to nothing"
    }
    return good == 0 ? "expected answers, found none that was OK within the timeout" : nil
  }
}

extension LoadReport {
  /// The meaning of a piece of text, by which a terminal colours it.
  public enum Style: Sendable {
    case plain
    case strong
    case good
    case bad
    case faint
  }

  /// The report as lines for people.
  public func lines(styled: (String, Style) -> String) -> [String] {
    var lines = [styled(title, .strong) + "  " + styled(setting, .faint), ""]
    func row(_ name: String, _ text: String) {
      lines.append("  " + styled(name + String(repeating: " ", count: max(1, 12 - name.count)), .faint) + text)
    }
    row("sent", Figures.grouped(sent) + (sent < offered ? " of \(Figures.grouped(offered)) due" : ""))
    row("answered", Figures.grouped(answered) + styled("  " + Figures.share(answered, of: sent), .faint))
    row(
      "goodput",
      styled("\(Figures.rate(goodputRows)) rows/s", good > 0 ? .good : .bad)
        + (batch > 1 ? "  \(Figures.rate(goodput)) requests/s" : ""))
    lines.append("")
    let times = [("latency", latencyUs), ("refusal", refusalUs)].compactMap { name, times in times.map { (name, $0) } }
    if !times.isEmpty { lines += table(times, styled) + [""] }
    let counts = statuses.sorted { $0.key < $1.key }
    row(
      "status",
      counts.isEmpty
        ? styled("none", .bad)
        : counts.map { styled("\($0.key) \(Figures.grouped($0.value))", $0.key == "OK" ? .good : .bad) }
          .joined(separator: "  "))
    for (name, count, meaning) in troubles where count > 0 {
      row(name, styled(Figures.grouped(count), .bad) + "  " + styled(meaning, .faint))
    }
    if !versions.isEmpty {
      let counts = versions.map { "\($0.model)@\($0.version) \(Figures.grouped($0.answers))" }
      row("versions", counts.joined(separator: "  "))
    }
    if verified + wrong + mixed > 0 {
      let faults = "\(Figures.grouped(wrong)) wrong, \(Figures.grouped(mixed)) mixed"
      row("verified", "\(Figures.grouped(verified)), " + styled(faults, wrong + mixed > 0 ? .bad : .good))
    }
    if let lagUs {
      row("lag", "p99 \(Figures.time(lagUs.p99)), max \(Figures.time(lagUs.max))")
    }
    if generatorBehind {
      lines.append("")
      lines.append(
        styled("  The generator itself fell behind its schedule, and that lateness stands in the latencies:", .bad))
      lines.append(styled("  give it more --threads or free processors, or lower the rate.", .bad))
    }
    return lines
  }

  private var title: String { models.joined(separator: " + ") }

  private var setting: String {
    var parts: [String] = []
    if let rateIntended, let arrivals {
      parts.append("open loop, \(arrivals), \(Figures.rate(rateIntended)) requests/s")
    } else {
      parts.append("closed loop, depth \(depth)")
    }
    parts.append(Figures.counted(connections, "connection"))
    if threads > 1 { parts.append("\(threads) threads") }
    parts.append("batch \(batch)")
    parts.append("\(Figures.seconds(seconds))")
    return parts.joined(separator: ", ")
  }

  /// Table with a column for each percentile and a row for each kind of answer.
  private func table(_ rows: [(name: String, times: Percentiles)], _ styled: (String, Style) -> String) -> [String] {
    let heads = ["p50", "p90", "p99", "p99.9", "max"]
    let cells = rows.map { [$0.times.p50, $0.times.p90, $0.times.p99, $0.times.p999, $0.times.max].map(Figures.time) }
    func line(_ name: String, _ cells: [String]) -> String {
      name + String(repeating: " ", count: 12 - name.count)
        + cells.map { String(repeating: " ", count: max(2, 10 - $0.count)) + $0 }.joined()
    }
    return ["  " + styled(line("", heads), .faint)] + zip(rows, cells).map { "  " + line($0.name, $1) }
  }

  private var troubles: [(String, UInt64, String)] {
    [
      ("late", late, "answered OK after the timeout"),
      ("ran late", ranLate, "computed although their timeout had passed before"),
      ("lost", lost, "in flight when their connection ended"),
      ("unanswered", unanswered, "never answered"),
      ("expired", expired, "timed out before any connection had room"),
      ("unsent", unsent, "due, and not sent when the time was over"),
      ("held back", heldBack, "sent late because every connection was full"),
      ("stray", strayAnswers, "answers to nothing, or bytes that are no answer"),
      ("broken", connectionsLost, "connections that the server ended"),
      ("refused", connectFailures, "attempts to connect"),
    ]
  }
}

/// Numbers of a report as people read them.
public enum Figures {
  /// Whole number with groups of three digits, for example `1,234,567`.
  public static func grouped(_ number: UInt64) -> String { MessageFormat.grouped(number) }

  /// Number of events per second: whole above 100, else with one decimal.
  public static func rate(_ rate: Double) -> String {
    rate >= 100 || rate == rate.rounded() ? grouped(whole(rate)) : decimals(rate, 1)
  }

  /// Length of time with three digits, for example `850 ns`, `41.3 µs`, `1.25 ms` or `3.10 s`.
  public static func time(_ microseconds: Double) -> String {
    switch microseconds {
    case ..<1: "\(whole(microseconds * 1000)) ns"
    case ..<1000: "\(threeDigits(microseconds)) µs"
    case ..<1e6: "\(threeDigits(microseconds / 1000)) ms"
    default: "\(threeDigits(microseconds / 1e6)) s"
    }
  }

  public static func seconds(_ seconds: Double) -> String {
    seconds == seconds.rounded() ? "\(whole(seconds)) s" : "\(decimals(seconds, 1)) s"
  }

  /// Part of a whole, for example `99.98 %`. Only the whole itself is 100 %.
  public static func share(_ part: UInt64, of all: UInt64) -> String {
    guard all > 0 else { return "" }
    if part == all { return "100 %" }
    return decimals(min(99.99, Double(part) / Double(all) * 100), 2) + " %"
  }

  /// The first of `parts` and as many more as fit on one line of so many columns, two spaces apart.
  ///
  /// A part may have the codes of its colour in it, which take no columns.
  public static func fitting(_ parts: [(text: String, styled: String)], columns: Int) -> String {
    var line = ""
    var used = 0
    for part in parts {
      let needed = part.text.count + (used == 0 ? 0 : 2)
      guard used == 0 || used + needed <= columns else { break }
      line += (used == 0 ? "" : "  ") + part.styled
      used += needed
    }
    return line
  }

  /// Number with its noun, for example `1 connection` or `16 connections`.
  public static func counted(_ number: Int, _ noun: String) -> String { "\(number) \(noun)\(number == 1 ? "" : "s")" }

  private static func threeDigits(_ value: Double) -> String {
    decimals(value, value < 9.995 ? 2 : value < 99.95 ? 1 : 0)
  }

  private static func decimals(_ value: Double, _ places: Int) -> String {
    let scale: UInt64 = [1, 10, 100][places]
    let scaled = whole(value * Double(scale))
    guard places > 0 else { return String(scaled) }
    let fraction = String(scaled % scale)
    return "\(scaled / scale)." + String(repeating: "0", count: places - fraction.count) + fraction
  }

  private static func whole(_ value: Double) -> UInt64 {
    value.isFinite && value > 0 ? UInt64(min(value.rounded(), 1e18)) : 0
  }
}
