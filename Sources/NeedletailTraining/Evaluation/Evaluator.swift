internal import NeedletailCore
public import NeedletailEngine

/// A graph as a server would run it, and how well it answers rows that it did not learn from.
struct EvaluationReport {
  let definition: ModelDefinition
  let compiled: CompiledModel
  let validation: Evaluation
  let test: Evaluation
  /// Median time of one row alone, binding included.
  let microsecondsPerRow: Double
  /// Bytes of all tensors as a bundle stores them, before compression.
  let tensorBytes: Int
}

/// Compiles candidate graphs with the server's engine and measures them.
struct Evaluator {
  /// Raw rows of the training split.
  let trainCells: [[Cell]]
  private let data: PreparedData
  private let configuration: RunConfiguration
  private let validationCells: [[Cell]]
  private let testCells: [[Cell]]
  private let calibrationCells: [[Cell]]

  init(_ data: PreparedData, _ configuration: RunConfiguration) {
    self.data = data
    self.configuration = configuration
    trainCells = data.cells(data.split.train)
    validationCells = data.cells(data.split.validation)
    testCells = data.cells(data.split.test)
    var random = RandomSource(seed: configuration.seed, purpose: "calibration")
    var order = Array(trainCells.indices)
    random.shuffle(&order)
    calibrationCells = order.prefix(configuration.quantisation.calibrationRows).map { [trainCells] in trainCells[$0] }
  }

  /// - Throws: `TrainingError` where the engine refuses the graph or a row.
  func evaluate(_ graph: ModelGraph) throws(TrainingError) -> EvaluationReport {
    let (definition, compiled) = try compile(graph)
    return EvaluationReport(
      definition: definition, compiled: compiled,
      validation: try Evaluation(compiled, rows: validationCells, targets: data.targets(data.split.validation)),
      test: try Evaluation(compiled, rows: testCells, targets: data.targets(data.split.test)),
      microsecondsPerRow: try RowRunner(compiled).microsecondsPerRow(testCells),
      tensorBytes: Quantiser.tensorBytes(of: graph))
  }

  private func compile(_ graph: ModelGraph) throws(TrainingError) -> (ModelDefinition, CompiledModel) {
    let definition = ModelDefinition(schema: data.preprocessing.schema, graph: graph, labels: data.labels)
    do throws(PlanError) {
      return (definition, try CompiledModel(definition))
    } catch {
      throw TrainingError(error)
    }
  }

  // MARK: - quantisation

  /// Tries int8 layers under the gate.
  ///
  /// - Returns: the decision and the report of what it chose, which is the fp32 one where nothing became int8.
  func quantise(
    _ graph: ModelGraph, _ fp32: EvaluationReport
  ) throws(TrainingError) -> (QuantisationGate.Decision, EvaluationReport) {
    let gate = QuantisationGate(settings: configuration.quantisation, familyGains: configuration.family.gainsFromInt8)
    let reference = try RowRunner(fp32.compiled).run(count: calibrationCells.count) { calibrationCells[$0] }
    let decision = try gate.decide(
      layers: Quantiser.denseLayers(of: graph), weightCount: Quantiser.weightCount(of: graph),
      names: { graph.nodes[$0].name }
    ) { (layers) throws(TrainingError) in
      try measure(
        Quantiser.quantise(graph, layers: layers), fp32, reference: reference[AnswerLayout(fp32.compiled).numbers])
    }
    guard !decision.int8Layers.isEmpty else { return (decision, fp32) }
    return (decision, try evaluate(Quantiser.quantise(graph, layers: decision.int8Layers)))
  }

  private func measure(
    _ graph: ModelGraph, _ fp32: EvaluationReport, reference: [Float]
  ) throws(TrainingError) -> QuantisationGate.Measurement {
    let (_, compiled) = try compile(graph)
    let validation = try Evaluation(compiled, rows: validationCells, targets: data.targets(data.split.validation))
    let test = try Evaluation(compiled, rows: testCells, targets: data.targets(data.split.test))
    func loss(_ before: Evaluation, _ after: Evaluation) -> Double? {
      guard let a = before.points, let b = after.points else { return nil }
      return a - b
    }
    let losses = [loss(fp32.validation, validation), loss(fp32.test, test)].compactMap { $0 }
    let outputs = try RowRunner(compiled).run(count: calibrationCells.count) { calibrationCells[$0] }
    let found = outputs[AnswerLayout(compiled).numbers]
    let deviation = zip(found, reference).reduce(0) { $0 + abs(Double($1.0) - Double($1.1)) }
    return .init(lossPoints: losses.max() ?? 0, deviation: deviation / Double(max(reference.count, 1)))
  }

  // MARK: - drift

  /// The model's answers for its own training rows, as a column for the drift baseline.
  func trainingAnswers(_ report: EvaluationReport) throws(TrainingError) -> Table.Column {
    let outputs = try RowRunner(report.compiled).run(count: trainCells.count) { trainCells[$0] }
    let layout = AnswerLayout(report.compiled)
    guard let classIndex = layout.classIndex else {
      return Table.Column(name: "prediction", values: .numbers(outputs[layout.numbers].map { Double($0) }))
    }
    return Table.Column(
      name: "label",
      values: .categories(codes: outputs[classIndex].map { Int32($0) }, categories: report.definition.labels))
  }
}

/// Answers of one compiled model for one set of rows, and how good they are.
public struct Evaluation: Sendable {
  public let task: ModelGraph.Task
  /// Probabilities or scores, rows × classes; or one number a row.
  public let numbers: [Float]
  /// False for the scores of a model that tells no probabilities, and for regression.
  public let areProbabilities: Bool
  /// Class index per row; empty for regression.
  public let classes: [Int]
  /// Empty without rows.
  public let figures: [Metrics.Figure]

  /// - Parameters:
  ///   - rows: raw, as a client would send them.
  ///   - targets: class indices, or values.
  /// - Throws: `TrainingError` for a row that the schema refuses.
  init(_ model: CompiledModel, rows: [[Cell]], targets: [Double]) throws(TrainingError) {
    task = model.definition.graph.task
    let layout = AnswerLayout(model)
    let outputs = try RowRunner(model).run(count: rows.count) { rows[$0] }
    numbers = outputs[layout.numbers]
    areProbabilities = layout.areProbabilities
    classes = layout.classIndex.map { outputs[$0].map { Int($0) } } ?? []
    if rows.isEmpty {
      figures = []
    } else if layout.classIndex == nil {
      figures = Metrics.regression(predicted: numbers, truth: targets)
    } else {
      figures = Metrics.classification(
        probabilities: areProbabilities ? numbers : nil, predicted: classes, truth: targets.map { Int($0) },
        classCount: model.definition.labels.count)
    }
  }

  /// A figure by its name; nil where it was not taken.
  public subscript(name: String) -> Double? { figures.first { $0.name == name }?.value }

  /// Accuracy or R², times 100: what the quantisation gate compares. Nil without rows.
  var points: Double? {
    self[task == .classification ? "accuracy" : "r2"].map { $0 * 100 }
  }
}

/// Places of a model's answers among the outputs of its plan, found by what each output is.
struct AnswerLayout {
  /// Output that holds a class index a row; nil for regression.
  let classIndex: Int?
  /// Output that holds one number a class, or the predicted number.
  let numbers: Int
  /// True where the numbers are probabilities.
  let areProbabilities: Bool

  /// - Precondition: the graph was ended by ``GraphBuilder/finish(_:classCount:)``.
  init(_ model: CompiledModel) {
    let outputs = model.plan.outputs
    classIndex = outputs.firstIndex { $0.kind == .classIndex }
    let columns = classIndex == nil ? 1 : model.definition.labels.count
    guard let numbers = outputs.firstIndex(where: { $0.kind == .number && $0.columns == columns }) else {
      preconditionFailure("a trained graph answers with numbers")
    }
    self.numbers = numbers
    areProbabilities = outputs[numbers].name == AnswerNames.probabilities
  }
}
