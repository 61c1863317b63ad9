import ArgumentParser
import NeedletailCore
import NeedletailTraining

@main
struct TrainerCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "needletail-trainer",
    abstract: "Trains models offline and publishes them as bundles for needletail-server.",
    discussion: """
      One YAML file describes a run: data, features, target, model, training, quantisation.

        needletail-trainer init houses.csv --target price > run.yaml
        needletail-trainer train run.yaml --output out
        needletail-trainer train run.yaml --set training.epochs=50 --publish store --key publisher.key
      """,
    version: needletailVersion,
    subcommands: [InitCommand.self, TrainCommand.self, PublishCommand.self])
}

/// A mistake of the user: one clear line on stderr, and exit code 1.
struct UserError: Error, CustomStringConvertible {
  let description: String

  init(_ description: String) { self.description = description }
  init(_ error: TrainingError) { self.init(error.message) }
}
