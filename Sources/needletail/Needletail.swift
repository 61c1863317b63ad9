internal import ArgumentParser
internal import NeedletailCore

@main
struct Needletail: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "needletail",
    abstract: "Ask a Needletail server for predictions, models, health and metrics; handle bundles and API keys.",
    discussion: """
      The server is --server, else the environment's NEEDLETAIL_SERVER, else 127.0.0.1:6470. Where it asks for \
      a key, NEEDLETAIL_API_KEY holds one, or NEEDLETAIL_API_KEY_FILE names its file; NEEDLETAIL_TLS_CA names the \
      CA of an encrypted one.
      """,
    version: needletailVersion,
    subcommands: [
      PredictCommand.self, ModelsCommand.self, HealthCommand.self, MetricsCommand.self, EventsCommand.self,
      RolloutCommand.self, BenchCommand.self, BundleCommand.self, KeyCommand.self,
    ])
}
