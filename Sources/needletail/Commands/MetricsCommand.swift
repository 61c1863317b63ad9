internal import ArgumentParser
internal import NeedletailClient

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
