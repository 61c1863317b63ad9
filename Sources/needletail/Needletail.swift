internal import ArgumentParser
internal import NeedletailCore

@main
struct Needletail: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "needletail",
    abstract: "Ask a Needletail server for predictions, models, health and metrics.",
    version: needletailVersion,
    subcommands: [BundleCommand.self])
}
