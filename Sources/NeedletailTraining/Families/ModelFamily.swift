public import NeedletailCore

/// A kind of model the trainer can fit: one adapter, one file, listed in ``FamilyRegistry``.
public protocol ModelFamily: Sendable {
  /// As `model.family` names it.
  var name: String { get }
  /// One sentence for people.
  var summary: String { get }
  var tasks: Set<ModelGraph.Task> { get }
  /// Keys under `model`, with this family's defaults.
  var modelSettings: [Setting] { get }
  /// Keys under `training`, with this family's defaults.
  var trainingSettings: [Setting] { get }
  /// False where the model has so few weights that int8 would only cost accuracy.
  var gainsFromInt8: Bool { get }

  /// Learns from the training rows; validation rows may steer it.
  ///
  /// - Throws: what made learning impossible, with advice.
  func fit(_ context: FitContext) throws(TrainingError) -> any FittedModel
}

/// What a family learned.
public protocol FittedModel: Sendable {
  /// Adds the layers that lead from the preprocessed row to the raw outputs: one logit a class, or one number.
  ///
  /// - Returns: the value that holds them.
  func exportGraph(into graph: inout GraphBuilder, input: Int) -> Int
  /// What happened on the way, for the result table: `converged after 34 iterations`.
  var notes: [String] { get }
}

/// Preprocessed rows with what they should give.
public struct Samples: Sendable {
  /// One row a sample, after preprocessing.
  public var inputs: Matrix
  /// Class indices for classification, the values themselves for regression.
  public var targets: [Double]

  public init(inputs: Matrix, targets: [Double]) {
    precondition(inputs.rows == targets.count)
    self.inputs = inputs
    self.targets = targets
  }

  public var count: Int { targets.count }
}

/// All a family needs to learn.
public struct FitContext {
  public var task: ModelGraph.Task
  /// 0 for regression.
  public var classCount: Int
  public var train: Samples
  /// May be empty.
  public var validation: Samples
  /// The family's own keys under `model` and `training`, defaults merged in.
  public var model: Document
  public var training: Document
  public var seed: UInt64
  /// Called after every epoch.
  public var progress: (EpochReport) -> Void

  public init(
    task: ModelGraph.Task, classCount: Int, train: Samples, validation: Samples, model: Document,
    training: Document, seed: UInt64, progress: @escaping (EpochReport) -> Void = { _ in }
  ) {
    self.task = task
    self.classCount = classCount
    self.train = train
    self.validation = validation
    self.model = model
    self.training = training
    self.seed = seed
    self.progress = progress
  }
}

/// Where an iterative training stands.
public struct EpochReport: Sendable {
  /// From 1.
  public var epoch: Int
  public var epochCount: Int
  /// Mean over the epoch's training rows.
  public var loss: Double
  /// Nil without validation rows.
  public var validationLoss: Double?
  /// Accuracy or R² on the validation rows.
  public var validationMetric: Double?
  public var metricName: String
  public var bestEpoch: Int
  public var bestMetric: Double?
}

extension ModelFamily {
  /// The family's defaults under `model` and `training`.
  public var defaults: (model: Document, training: Document) {
    func section(_ settings: [Setting]) -> Document {
      .section(settings.map { .init($0.key, $0.fallback) })
    }
    return (section(modelSettings), section(trainingSettings))
  }
}
