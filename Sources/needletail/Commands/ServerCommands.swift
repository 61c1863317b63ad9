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

struct MetricsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "metrics", abstract: "Print the server's metrics in Prometheus' text format.")

  @Option(help: ArgumentHelp("Only the metrics whose name contains this.", valueName: "text"))
  var filter: String?

  @OptionGroup var server: ServerOptions

  func run() async throws {
    let text = try await server.withClient { try await $0.metrics() }
    for line in text.split(separator: "\n") where filter.map({ Self.name(of: line).contains($0) }) ?? true {
      print(line)
    }
  }

  /// `# HELP name …`, `# TYPE name …` or `name{…} value`.
  private static func name(of line: Substring) -> Substring {
    if line.hasPrefix("# ") { return line.split(separator: " ").dropFirst(2).first ?? "" }
    return line.prefix { $0 != "{" && $0 != " " }
  }
}
