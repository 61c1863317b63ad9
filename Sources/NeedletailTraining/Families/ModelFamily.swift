public import NeedletailCore
public import NeedletailEngine

/// A kind of model that the trainer can fit.
///
/// A new family is one file in this folder and one line in ``FamilyRegistry``. It declares what it is called, which
/// settings it has, and what it wants done to the columns; it learns from rows in the form of its ``Input``; and
/// what it learned becomes nodes of the model's graph that end in an ``OutputHead``. Evaluation, quantisation, golden
/// samples and the drift baseline then follow from the graph.
public protocol ModelFamily<Input>: Sendable {
  /// Form of the rows that ``fit(_:)`` gets: ``Matrix`` or ``FeatureColumns``.
  associatedtype Input: TrainingInput

  /// Name under `model.family` in a run file.
  var name: String { get }
  /// One sentence for people, without the name.
  var summary: String { get }
  /// Tasks that it can learn.
  var tasks: Set<ModelGraph.Task> { get }
  /// Treatment of the columns before the family sees them. Default: that of the ``Input``.
  var preprocessing: PreprocessingRequest { get }
  /// True where validation rows steer the training, by early stopping for instance. Default: false, and
  /// ``FitContext/validation`` is empty.
  var usesValidationRows: Bool { get }
  /// True where rows may have weights. Default: false, and a run file with `target.weight` is refused.
  var usesWeights: Bool { get }
  /// True where the family saves its state for ``FitContext/checkpoints`` and goes on from it. Default: false.
  var usesCheckpoints: Bool { get }
  /// True where columns may be text. Default: false, and a run file with such a column is refused.
  var takesText: Bool { get }
  /// True where there must be a column of text, so that one is looked for. Default: false.
  var needsText: Bool { get }
  /// False where ``TuningRun`` leaves the family out, because a trial takes too long. Default: true.
  var isSearched: Bool { get }
  /// True where int8 weights make the model faster. Default: false, as for a model of one layer.
  var gainsFromInt8: Bool { get }
  /// Keys under `model` with their defaults and bounds. Default: none.
  var modelSettings: [Setting] { get }
  /// Keys under `training` with their defaults and bounds. Default: none.
  var trainingSettings: [Setting] { get }

  /// Settings that tuning varies. Default: none, and the family has one trial.
  func searchSettings(_ table: SearchTable) -> [SearchSetting]
  /// Settings that all trials have, by their path, unless the run file has its own. Default: none.
  func tunedSettings(_ table: SearchTable) -> [(path: String, value: Document)]
  /// Number of a step that stands for the same amount of learning in every trial. Default: that of the epoch.
  func tuningStep(of report: EpochReport, settings: Document) -> Int

  /// Refuses settings that mean nothing beside others. Default: nothing is refused.
  ///
  /// - Throws: `TrainingError` that names the setting.
  func check(_ configuration: RunConfiguration) throws(TrainingError)

  /// Learns from the training rows.
  ///
  /// - Throws: `TrainingError` of kind `fit` that says what made learning impossible, with advice.
  func fit(_ context: FitContext<Input>) throws(TrainingError) -> any FittedModel
}

extension ModelFamily {
  public var preprocessing: PreprocessingRequest { Input.preprocessing }
  public var usesValidationRows: Bool { false }
  public var usesWeights: Bool { false }
  public var usesCheckpoints: Bool { false }
  public var takesText: Bool { false }
  public var needsText: Bool { false }
  public var isSearched: Bool { true }
  public var gainsFromInt8: Bool { false }
  public var modelSettings: [Setting] { [] }
  public var trainingSettings: [Setting] { [] }

  public func searchSettings(_ table: SearchTable) -> [SearchSetting] { [] }
  public func tunedSettings(_ table: SearchTable) -> [(path: String, value: Document)] { [] }
  public func tuningStep(of report: EpochReport, settings: Document) -> Int { report.epoch }
  public func check(_ configuration: RunConfiguration) throws(TrainingError) {}
}

/// Result of a fit: what a family learned, ready to become part of a graph.
public protocol FittedModel: Sendable {
  /// Adds the nodes that lead from the preprocessed row to the answers.
  ///
  /// - Parameters:
  ///   - graph: the graph so far, preprocessing included.
  ///   - input: the value that holds the preprocessed row.
  /// - Returns: the value that holds the answers, and how they are to be read.
  /// - Throws: `TrainingError` of kind `fit` where the graph refuses a node, because a learned number is not finite for
  ///   instance.
  func export(into graph: inout GraphBuilder, input: Int) throws(TrainingError) -> OutputHead
  /// The graph from texts to answers, for models that begin with a tokenizer of their own; ``export(into:input:)`` is then
  /// not called. Default: nil.
  var wholeGraph: ModelGraph? { get }
  /// Parameters that learned, memory and time, for families whose fits are costly. Default: null.
  var cost: Document { get }
  /// Sentences about the fit, for the result table: `converged after 34 iterations`.
  var notes: [String] { get }
  /// Use that the model makes of each feature, in schema order. Default: none, for families that do not tell.
  var importance: [FeatureImportance] { get }
}

extension FittedModel {
  public var wholeGraph: ModelGraph? { nil }
  public var cost: Document { .null }
  public var importance: [FeatureImportance] { [] }
}

/// Meaning of the last value of a family's nodes. Every case holds the index of that value.
public enum OutputHead: Equatable, Sendable {
  /// One column a class; their softmax are the probabilities.
  case logits(Int)
  /// One column for two classes: the log-odds of the second. The logistic function makes them probabilities.
  case logOdds(Int)
  /// One column a class, adding up to 1.
  case probabilities(Int)
  /// One column a class, the largest wins; nothing is said about probabilities.
  case scores(Int)
  /// One column: the predicted number.
  case number(Int)
}

/// Rows, settings and seed that a family learns from.
public struct FitContext<Input: TrainingInput> {
  public var task: ModelGraph.Task
  /// Number of classes; 0 for regression.
  public var classCount: Int
  /// Names of the classes, in the order of their indices; empty where nobody names them.
  public var labels: [String]
  public var train: Samples<Input>
  /// Rows to steer by; empty unless the family uses them, and perhaps even then.
  public var validation: Samples<Input>
  /// The section `model` of the run file, defaults merged in.
  public var model: Document
  /// The section `training` of the run file, defaults merged in.
  public var training: Document
  /// Seed for whatever is random.
  public var seed: UInt64
  /// Closure that is called after every epoch, on the thread that trains. An error that it throws ends the training.
  public var progress: (EpochReport) throws(TrainingError) -> Void
  /// Place where the state is kept; nil: the training is neither saved nor stopped.
  public var checkpoints: Checkpoints?
  /// Path of a file that a setting names.
  public var path: (String) -> String = { $0 }

  public init(
    task: ModelGraph.Task, classCount: Int, labels: [String] = [], train: Samples<Input>, validation: Samples<Input>,
    model: Document,
    training: Document, seed: UInt64, checkpoints: Checkpoints? = nil,
    progress: @escaping (EpochReport) throws(TrainingError) -> Void = { _ in }
  ) {
    self.task = task
    self.classCount = classCount
    self.labels = labels
    self.train = train
    self.validation = validation
    self.model = model
    self.training = training
    self.seed = seed
    self.checkpoints = checkpoints
    self.progress = progress
  }
}

/// Progress of an iterative training.
public struct EpochReport: Sendable {
  /// Number of the epoch, from 1.
  public var epoch: Int
  /// Number of epochs at most; 0 where nobody knows.
  public var epochCount: Int
  /// Mean over the epoch's training rows; NaN for families that do not measure it.
  public var loss: Double
  /// Mean over the validation rows; nil without any.
  public var validationLoss: Double?
  /// Accuracy or R² on the validation rows.
  public var validationMetric: Double?
  public var metricName: String
  /// Epoch with the smallest validation loss so far, and its metric; 0 and nil without validation rows.
  public var bestEpoch: Int
  public var bestMetric: Double?
  /// Name of what is counted, such as `round` of boosted trees.
  public var stepName = "epoch"
  /// Size of the first layer's gradients beside those of the last layer; nil for models without layers.
  public var firstLayerShare: Double?
}

/// The model families by name, in the order in which messages list them.
public enum FamilyRegistry {
  public static let all: [any ModelFamily] = [
    GBDT(),
    LinearRegression(),
    LogisticRegression(),
    MLP(),
    NearestCentroid(),
    RandomForest(),
    TextLinear(),
    Encoder(),
  ]
}

extension [any ModelFamily] {
  public var names: [String] { map(\.name) }

  func named(_ name: String) -> (any ModelFamily)? { first { $0.name == name } }
}

/// A form in which a family gets the rows that it learns from.
///
/// ``Matrix`` holds what the model's graph computes from a raw row before the family's own nodes, in fp32.
/// ``FeatureColumns`` holds the columns themselves. A family names one of them as its `Input`.
public protocol TrainingInput: Sendable {
  /// Preprocessing for a family with this input, unless it asks for another.
  static var preprocessing: PreprocessingRequest { get }

  /// Takes rows of a table through the preprocessing that was fitted on the training rows.
  ///
  /// - Parameters:
  ///   - preprocessing: fitted for the family's ``ModelFamily/preprocessing``.
  ///   - features: the table, in schema order.
  ///   - rows: indices into it; may be empty.
  /// - Throws: `TrainingError` for a row that the schema refuses.
  init(_ preprocessing: Preprocessing, _ features: Table, rows: [Int]) throws(TrainingError)

  /// Number of rows held.
  var rowCount: Int { get }
}

/// A dense matrix of fp32, row-major: one sample a row, or one output channel a row.
public struct Matrix: Equatable, Sendable {
  public let rows: Int
  public let columns: Int
  /// `rows × columns` elements.
  public var elements: [Float]

  public init(rows: Int, columns: Int, elements: [Float]) {
    precondition(elements.count == rows * columns, "\(elements.count) elements for \(rows) × \(columns)")
    self.rows = rows
    self.columns = columns
    self.elements = elements
  }

  /// A matrix of zeros.
  public init(rows: Int, columns: Int) {
    self.init(rows: rows, columns: columns, elements: [Float](repeating: 0, count: rows * columns))
  }

  public subscript(row: Int, column: Int) -> Float {
    get { elements[row * columns + column] }
    set { elements[row * columns + column] = newValue }
  }
}

extension Matrix: TrainingInput {
  public static let preprocessing = PreprocessingRequest.dense

  public init(_ preprocessing: Preprocessing, _ features: Table, rows: [Int]) throws(TrainingError) {
    self = try preprocessing.transform(features, rows: rows)
  }

  public var rowCount: Int { rows }
}

/// Columns as the graph's input row holds them: for families that look at one column at a time, such as trees.
///
/// The graph takes them in f64, so that a threshold learned from their digits sends a row the same way in a server.
/// A family that asks for f32 instead gets them rounded to it.
public struct FeatureColumns: TrainingInput, Equatable {
  public struct Column: Equatable, Sendable {
    /// Name and kind as a client sees them.
    public var feature: Feature
    /// One number a row: a value, or the code of a category, −1 for one that training never saw, and the number
    /// of categories for one that the schema gathers as `other`. Missing is NaN.
    public var values: [Double]
  }

  public static let preprocessing = PreprocessingRequest.columns

  /// One a feature in schema order, or one a part for dates.
  public let columns: [Column]
  public let rowCount: Int

  public init(_ preprocessing: Preprocessing, _ features: Table, rows: [Int]) throws(TrainingError) {
    rowCount = rows.count
    let isDouble = preprocessing.element == .float64
    columns = preprocessing.sources.map { source in
      let values = rows.map {
        source.value(features, row: $0, isOutOfFold: preprocessing.isOutOfFold, rounds: !isDouble)
      }
      return Column(feature: source.asFeature, values: values)
    }
  }
}

/// Preprocessed rows and their targets.
public struct Samples<Input: TrainingInput>: Sendable {
  /// One row a sample.
  public var inputs: Input
  /// Class indices for classification, the values themselves for regression.
  public var targets: [Double]
  /// Weight of each row; none: all count alike. Only families that use weights get any.
  public var weights: [Float]
  /// Number of the group that each row belongs to; none where the run has no groups.
  public var groups: [Int]

  /// - Precondition: as many targets as rows, and as many weights and groups, or none.
  public init(inputs: Input, targets: [Double], weights: [Float] = [], groups: [Int] = []) {
    precondition(inputs.rowCount == targets.count)
    precondition(weights.isEmpty || weights.count == targets.count)
    precondition(groups.isEmpty || groups.count == targets.count)
    self.inputs = inputs
    self.targets = targets
    self.weights = weights
    self.groups = groups
  }

  public var count: Int { targets.count }
}
