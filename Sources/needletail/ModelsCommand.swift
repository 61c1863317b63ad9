internal import ArgumentParser
internal import Foundation
internal import NeedletailClient

struct ModelsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "models",
    abstract: "List models and their versions, or describe one.",
    discussion: """
      The version marked * answers requests that name none. SHARE, REQ/S and P99 are of the last minute;
      P99 is from a request's last byte to its answer, in the server.
      """)

  @Argument(help: ArgumentHelp("Describe this model.", valueName: "MODEL[@VERSION|@LABEL]"))
  var model: ModelReference?

  @Flag(help: "Print JSON.")
  var json = false

  @Flag(help: "Show the list again and again, until q or Ctrl-C.")
  var watch = false

  @Option(help: ArgumentHelp("How often --watch asks.", valueName: "time"))
  var interval = TimeSpan(duration: .seconds(2), text: "2s")

  @Flag(help: "Also print the last events.")
  var events = false

  @OptionGroup var server: ServerOptions

  private static let eventsShown = 12

  func validate() throws {
    guard model == nil || (!watch && !events) else {
      throw ValidationError("--watch and --events are about all models: leave MODEL out.")
    }
    guard !(json && (watch || events)) else {
      throw ValidationError("--json goes with neither --watch nor --events; see `needletail events --follow --json`.")
    }
  }

  func run() async throws {
    if watch { return try await watchList() }
    guard let model else { return try await list() }
    let description = try await server.withClient {
      try await $0.describeModel(model.model, selector: model.selector)
    }
    if json {
      try printJSON(description.json)
    } else {
      DescriptionPrinter(description).print()
    }
  }

  private func list() async throws {
    let (report, happened) = try await ask()
    if json { return try printJSON(report.json) }
    for line in lines(report, happened, width: nil) { print(line) }
  }

  private func ask() async throws -> (ModelListReport, [EventReport]) {
    try await server.withClient { client in
      (try await client.listModels(), events ? try await client.events().events : [])
    }
  }

  private func lines(_ report: ModelListReport, _ happened: [EventReport], width: Int?) -> [String] {
    let now = UInt64(Date().timeIntervalSince1970 * 1000)
    var lines = ModelsView(report, now: now).lines(width: width)
    let shown = happened.filter { $0.severity != "debug" }.suffix(Self.eventsShown)
    if !shown.isEmpty { lines += [""] + shown.map { EventLine($0).text(width: width) } }
    return lines
  }

  private func watchList() async throws {
    let address = try server.address()
    try await LiveScreen.run(every: interval.duration) { width in
      let head = TerminalTable.styled(
        "\(address)  \(EventLine.time(UInt64(Date().timeIntervalSince1970 * 1000)))"
          + (width == nil ? "" : "  q quits"),
        .faint)
      do {
        let (report, happened) = try await ask()
        return [head, ""] + lines(report, happened, width: width)
      } catch let failure as Failure {
        // The server may be restarting: watching goes on.
        return [head, ""] + TerminalTable.broken(failure.description, width: width)
      } catch let error as ClientError {
        return [head, ""] + TerminalTable.broken(error.message, width: width)
      }
    }
  }
}
