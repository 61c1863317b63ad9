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
