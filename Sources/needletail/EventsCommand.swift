internal import ArgumentParser
internal import Foundation
internal import NeedletailClient
internal import NeedletailCore

struct EventsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "events",
    abstract: "Print what happened to models, store and server.",
    discussion: """
      The server keeps the last \(Limits.eventsMax) events. Steps on the way of a version, of severity debug, are left out
      unless --all is given.

      Examples:
        needletail events --last 5
        needletail events --follow --json | jq 'select(.severity == "warning")'
      """)

  @Option(help: ArgumentHelp("The last so many.", valueName: "count"))
  var last = 20

  @Flag(help: "Go on printing what happens, until Ctrl-C.")
  var follow = false

  @Flag(help: "Also the steps in between.")
  var all = false

  @Flag(help: "Print one JSON object per event.")
  var json = false

  @OptionGroup var server: ServerOptions

  /// Time between two requests of `--follow`.
  private static let interval: Duration = .milliseconds(500)

  func validate() throws {
    guard last >= 0 else { throw ValidationError("--last: expected a number from 0, found \(last).") }
  }

  func run() async throws {
    var report = try await server.withClient { try await $0.events() }
    for event in report.events.filter(isWanted).suffix(last) { try print(event) }
    guard follow else { return }
    var seen = report.newest
    var began = report.beganMilliseconds
    var isReachable = true
    while true {
      fflush(nil)
      try await Task.sleep(for: Self.interval)
      do {
        report = try await server.withClient { try await $0.events(after: seen) }
        if report.beganMilliseconds != began {
          notice("the server was restarted")
          report = try await server.withClient { try await $0.events() }
          began = report.beganMilliseconds
        } else if let first = report.events.first, first.sequence > seen, first.sequence - seen > 1 {
          notice("\(first.sequence - seen - 1) events are lost: the server keeps no more")
        }
      } catch let error where error is Failure || error is ClientError {
        if isReachable { notice("no answer: \((error as? ClientError)?.message ?? "\(error)"); trying again") }
        isReachable = false
        continue
      }
      isReachable = true
      seen = report.newest
      for event in report.events where isWanted(event) { try print(event) }
    }
  }

  private func isWanted(_ event: EventReport) -> Bool { all || event.severity != "debug" }

  private func print(_ event: EventReport) throws {
    if json {
      try printJSON(event.json)
    } else {
      Swift.print(EventLine(event).text())
    }
  }
}

/// One event as one line: time, severity, model and version, message, facts.
struct EventLine {
  private let event: EventReport

  init(_ event: EventReport) { self.event = event }

  /// - Parameter width: columns of the window; nil: no limit.
  func text(width: Int? = nil) -> String {
    var room = width ?? .max
    var line = ""
    for (text, style) in parts where room > 2 {
      let separator = line.isEmpty ? "" : "  "
      let shown = TerminalTable.cut(text, to: room - separator.count)
      room -= separator.count + shown.count
      line += separator + TerminalTable.styled(shown, style)
    }
    return line
  }

  private var parts: [(text: String, style: TerminalTable.Style)] {
    let severity = BundleOutput.plain(event.severity)
    var parts: [(text: String, style: TerminalTable.Style)] = [
      (Self.time(event.milliseconds), .faint),
      (severity + String(repeating: " ", count: max(0, 7 - severity.count)), style),
    ]
    if !event.model.isEmpty {
      parts.append((BundleOutput.plain(event.model) + (event.version > 0 ? " \(event.version)" : ""), .strong))
    }
    parts.append((BundleOutput.plain(event.message), .plain))
    // The message contains the state already.
    for fact in event.facts where !fact.value.isEmpty && fact.name != "state" {
      parts.append(("\(BundleOutput.plain(fact.name))=\(BundleOutput.plain(fact.value))", .plain))
    }
    return parts
  }

  private var style: TerminalTable.Style {
    switch event.severity {
    case "error", "warning": .bad
    case "notice": .good
    case "debug": .faint
    default: .plain
    }
  }

  /// Local time: `2026-11-21 11:30:00`.
  static func time(_ milliseconds: UInt64, in zone: TimeZone = .current) -> String {
    let formatter = DateFormatter()
    formatter.locale = Locale(identifier: "en_US_POSIX")
    formatter.timeZone = zone
    formatter.dateFormat = "yyyy-MM-dd HH:mm:ss"
    return formatter.string(from: Date(timeIntervalSince1970: Double(milliseconds) / 1000))
  }
}
