internal import ArgumentParser
internal import NeedletailClient

struct HealthCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "health",
    abstract: "Say whether the server takes traffic: exit code 0 if it does, 1 if not.")

  @Flag(help: "Print JSON.")
  var json = false

  @OptionGroup var server: ServerOptions

  func run() async throws {
    let report = try await server.withClient { try await $0.health() }
    if json {
      try printJSON(report.json)
    } else {
      let word = report.ready ? "ready" : "not ready"
      print(TerminalTable.styled(word, report.ready ? .good : .bad) + ": " + Self.summary(report.models))
    }
    if !report.ready { throw ExitCode.failure }
  }

  private static func summary(_ models: [ModelStatusReport]) -> String {
    guard !models.isEmpty else { return "no models" }
    return models.map { model in
      model.servingVersion > 0 ? "\(model.model)@\(model.servingVersion)" : "\(model.model) (none live)"
    }.joined(separator: ", ")
  }
}
