internal import ArgumentParser
internal import NeedletailCore

@main
struct Needletail: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "needletail",
    abstract: "Ask a Needletail server for predictions, models, health and metrics; handle bundles.",
    discussion: """
      The server is --server, else the environment's NEEDLETAIL_SERVER, else 127.0.0.1:6470.
      """,
    version: needletailVersion,
    subcommands: [
      PredictCommand.self, ModelsCommand.self, HealthCommand.self, MetricsCommand.self, BenchCommand.self,
      RolloutCommand.self, BundleCommand.self,
    ])
}
