internal import ArgumentParser
internal import NeedletailClient

struct ServerCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "server",
    abstract: "Show what a server is: its version, features and limits.",
    discussion: """
      Limits have the names of the protocol (proto/README.md); the settings that move them stand there too.
      """)

  @Flag(help: "Print JSON.")
  var json = false

  @OptionGroup var server: ServerOptions

  func run() async throws {
    let report = try await server.withClient { try await $0.serverInfo() }
    if json { return try printJSON(report.json) }
    // Names come from the server: they are shown without control characters.
    print(
      "\(BundleOutput.plain(report.name)) \(BundleOutput.plain(report.version)) on \(BundleOutput.plain(report.isa))")
    print("features: " + report.features.map { BundleOutput.plain($0) }.joined(separator: ", "))
    print("limits:")
    for limit in report.limits.named where limit.value > 0 {
      print("  \(limit.name)\(String(repeating: " ", count: 28 - limit.name.count))\(limit.value)")
    }
  }
}
