internal import ArgumentParser
internal import NeedletailClient
internal import NeedletailCore
internal import NeedletailModels

struct ExperimentCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "experiment",
    abstract: "Show what an experiment has found out, or end it.",
    discussion: """
      An experiment compares the arms of a split by the outcomes that are reported. It begins when a rollout file has \
      the key experiment, and may be looked at as often as one likes:

        needletail rollout set churn --store models --split stable=50,canary=50 --experiment metric=accuracy,minimum_effect=0.01
        needletail experiment show churn
        needletail experiment stop churn --store models --promote canary
      """,
    subcommands: [ExperimentShow.self, ExperimentStop.self])
}

struct ExperimentShow: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show", abstract: "Show an experiment's arms, its evidence and its conclusion.",
    discussion: "Shows the last experiment of the model after it has ended, until the server is started again.")

  @Argument(help: ArgumentHelp("Name of the model.", valueName: "MODEL"))
  var model: String

  @Flag(help: "Exit with 1 while the experiment has no conclusion.")
  var failOnRunning = false

  @Flag(help: "Print one JSON object.")
  var json = false

  @OptionGroup var server: ServerOptions

  func run() async throws {
    let text = try await server.withClient { try await $0.metrics() }
    let figures = try ExperimentFigures(metrics: MetricSamples(text), model: model)
    if json { try printJSON(figures) } else { figures.print() }
    if failOnRunning, figures.state == "running" { throw ExitCode.failure }
  }
}

struct ExperimentStop: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "stop", abstract: "End an experiment by a new rollout.yaml, whole or not at all.",
    discussion: """
      All requests go to the version that the others were compared with, or to the one that --promote names; with \
      --keep-split the shares stay as they are. A server sees the file within two seconds.
      """)

  @Argument(help: ArgumentHelp("Name of the model.", valueName: "MODEL"))
  var model: String

  @Option(help: ArgumentHelp("Directory of models, or s3://BUCKET/PREFIX.", valueName: "store"))
  var store: String

  @Option(help: ArgumentHelp("The arm that gets all requests.", valueName: "LABEL|VERSION"))
  var promote: String?

  @Flag(help: "Leave the shares as they are.")
  var keepSplit = false

  func validate() throws {
    guard promote == nil || !keepSplit else {
      throw ValidationError("--promote and --keep-split: expected one of them, found both")
    }
  }

  func run() async throws {
    let name: ModelID
    do throws(ServingError) { name = try ModelID(model) } catch { throw Failure(error.message) }
    let source = try RolloutStore(store)
    var policy: RolloutPolicy
    switch try source.rollout(of: name) {
    case .file(let file): policy = file.policy
    case .invalid(let reason): throw Failure(reason)
    case nil: throw Failure("\(model): expected a rollout.yaml with an experiment, found none")
    }
    guard policy.experiment != nil, let baseline = policy.splitBaseline else {
      throw Failure("\(model): expected a rollout.yaml with an experiment, found one without")
    }
    if keepSplit {
      policy.experiment = nil
    } else {
      policy = policy.concluding(try promote.map { try arm($0, of: policy) } ?? baseline)
    }
    try source.write("experiment stop", policy.yaml, of: name)
  }

  private func arm(_ word: String, of policy: RolloutPolicy) throws -> ModelVersion {
    if let arm = policy.split.first(where: { $0.name == word || $0.version.description == word }) { return arm.version }
    let arms = policy.split.map(\.name).joined(separator: ", ")
    throw Failure("--promote: expected an arm of the split (\(arms)), found \(word.quotedForMessage)")
  }
}
