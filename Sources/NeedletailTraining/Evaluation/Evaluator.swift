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

  /// Bytes of the tensors, or of a model without any, such as one of trees, what its plan holds of it.
  var weightBytes: Int {
    tensorBytes > 0 ? tensorBytes : compiled.plan.steps.reduce(0) { $0 + $1.weightBytes }
  }
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
      validation: ranked(
        try evaluation(compiled, validationCells, data.split.validation), data.split.validation),
      test: ranked(try evaluation(compiled, testCells, data.split.test), data.split.test),
      microsecondsPerRow: try RowRunner(compiled).microsecondsPerRow(testCells),
      tensorBytes: Quantiser.tensorBytes(of: graph))
  }

  /// Answers for rows of the table, whose cells are these.
  private func evaluation(
    _ model: CompiledModel, _ cells: [[Cell]], _ rows: [Int]
  ) throws(TrainingError) -> Evaluation {
    try Evaluation(
      model, rows: cells, targets: data.targets(rows), weights: RowWeights.ofJudged(rows, data, configuration))
  }

  /// The same with the NDCG, where the answers are there to rank the rows of groups.
  private func ranked(_ evaluation: Evaluation, _ rows: [Int]) -> Evaluation {
    let model = configuration.document["model"]
    guard model["loss"].text == "rank", let places = model["rank_places"].integer, !rows.isEmpty else {
      return evaluation
    }
    let ranking = ScoredRows(
      targets: data.targets(rows), groups: rows.map { data.dataset.groups[$0] }, .ranking, weights: [], bias: [0],
      places: places)
    for (row, score) in evaluation.numbers.enumerated() { ranking.scores.start[row] = score }
    return evaluation.adding(("ndcg", ranking.judge(threads: 1).metric))
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
      layers: Quantiser.layers(of: graph), weightCount: Quantiser.weightCount(of: graph),
      names: { graph.nodes[$0].name }
    ) { (layers) throws(TrainingError) in
      try measure(
        Quantiser.quantise(graph, layers: layers), fp32, reference: reference[AnswerLayout(fp32.compiled).numbers])
    }
    guard !decision.int8Layers.isEmpty else { return (decision, fp32) }
    let int8 = try evaluate(Quantiser.quantise(graph, layers: decision.int8Layers))
    let kept = gate.keep(
      decision, microsecondsPerRow: int8.microsecondsPerRow, fp32Microseconds: fp32.microsecondsPerRow)
    return (kept, kept.int8Layers.isEmpty ? fp32 : int8)
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

  // MARK: - importance

  /// Measures what the model makes of its features, on the test rows, or the validation rows where there are none.
  func measureUse(
    _ features: [FeatureImportance], _ report: EvaluationReport
  ) throws(TrainingError) -> [FeatureImportance] {
    let hasTest = !testCells.isEmpty
    let use = FeatureUse(
      report, rows: hasTest ? testCells : validationCells,
      targets: data.targets(hasTest ? data.split.test : data.split.validation), seed: configuration.seed)
    return try use.measure(features)
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
  /// Empty without rows. Every row counts alike.
  public private(set) var figures: [Metrics.Figure]
  /// The same with rows that count by their weights; empty without weights, or where they add up to 0.
  public let weighted: [Metrics.Figure]

  /// - Parameters:
  ///   - rows: raw, as a client would send them.
  ///   - targets: class indices, or values.
  ///   - weights: one a row, from 0; none: no weighted figures.
  /// - Throws: `TrainingError` for a row that the schema refuses.
  init(
    _ model: CompiledModel, rows: [[Cell]], targets: [Double], weights: [Double] = []
  ) throws(TrainingError) {
    task = model.definition.graph.task
    let layout = AnswerLayout(model)
    let outputs = try RowRunner(model).run(count: rows.count) { rows[$0] }
    numbers = outputs[layout.numbers]
    areProbabilities = layout.areProbabilities
    classes = layout.classIndex.map { outputs[$0].map { Int($0) } } ?? []
    let (numbers, classes, areProbabilities) = (self.numbers, self.classes, self.areProbabilities)
    func figures(_ weights: [Double]) -> [Metrics.Figure] {
      if rows.isEmpty { return [] }
      guard layout.classIndex != nil else {
        return Metrics.regression(predicted: numbers, truth: targets, weights: weights)
      }
      return Metrics.classification(
        probabilities: areProbabilities ? numbers : nil, predicted: classes, truth: targets.map { Int($0) },
        classCount: model.definition.labels.count, weights: weights)
    }
    self.figures = figures([])
    weighted = weights.isEmpty ? [] : figures(weights)
  }

  /// The same with one more figure, before the others.
  func adding(_ figure: Metrics.Figure) -> Evaluation {
    var evaluation = self
    evaluation.figures.insert(figure, at: 0)
    return evaluation
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
    // An imported model may answer with several numbers, and with the sums before its link function behind them.
    let columns = classIndex == nil ? nil : model.definition.labels.count
    guard
      let numbers = outputs.firstIndex(where: { $0.kind == .number && (columns == nil || $0.columns == columns) })
    else {
      preconditionFailure("a trained graph answers with numbers")
    }
    self.numbers = numbers
    areProbabilities = outputs[numbers].name == AnswerNames.probabilities
  }
}

/// Runs raw rows through a compiled model, chunk by chunk, on one reused workspace. It is the path that a server takes
/// from cells to answers.
struct RowRunner {
  let model: CompiledModel

  init(_ model: CompiledModel) { self.model = model }

  private func workspace() throws(TrainingError) -> Workspace {
    do throws(PlanError) { return try Workspace(model.plan) } catch { throw TrainingError(error) }
  }

  /// - Parameters:
  ///   - count: number of rows.
  ///   - cells: the row at an index below `count`, one cell a feature.
  /// - Returns: per output of the plan its values, rows × columns; class outputs hold an index a row.
  /// - Throws: `TrainingError` for a row that the schema refuses.
  func run(count: Int, cells: (Int) -> [Cell]) throws(TrainingError) -> [[Float]] {
    let plan = model.plan
    let workspace = try workspace()
    var results = plan.outputs.map { output in
      var values: [Float] = []
      values.reserveCapacity(count * output.columns)
      return values
    }
    var start = 0
    while start < count {
      let rows: Int
      do throws(ServingError) {
        rows = try model.binder.bind(
          rows: count - start, from: start, for: plan, into: workspace.rows, cells: cells)
      } catch {
        throw TrainingError(error)
      }
      plan.run(workspace, rows: rows)
      if let error = plan.textError(workspace, rows: 0..<rows, first: start) { throw TrainingError(error) }
      for (index, output) in plan.outputs.enumerated() {
        results[index].append(
          contentsOf: UnsafeBufferPointer(start: workspace.output(index), count: rows * output.columns))
      }
      start += rows
    }
    return results
  }

  /// Timings of a median at least, and the time after which there are enough.
  private static let timesMin = 25
  private static let timingMicrosecondsMax = 1_000_000

  /// Median time of one row alone, binding and running, in microseconds.
  ///
  /// - Parameter rows: taken in turns; 0 is returned without any.
  func microsecondsPerRow(_ rows: [[Cell]], repetitions: Int = 2000) throws(TrainingError) -> Double {
    try rows.isEmpty ? 0 : microseconds(batch: 1, rows, repetitions: repetitions)
  }

  /// Median time of so many rows together, binding and running, in microseconds.
  ///
  /// - Parameter rows: taken in turns.
  /// - Precondition: there is a row, and the batch is within what the plan takes.
  func microseconds(batch: Int, _ rows: [[Cell]], repetitions: Int) throws(TrainingError) -> Double {
    let plan = model.plan
    let workspace = try workspace()
    var times: [UInt64] = []
    times.reserveCapacity(repetitions)
    // The first ones fill the caches.
    let warming = max(2, 100 / batch)
    let began = Instant.now()
    for repetition in 0..<(repetitions + warming) {
      let before = Instant.now()
      var done = 0
      while done < batch {
        do throws(ServingError) {
          let bound = try model.binder.bind(rows: batch - done, from: done, for: plan, into: workspace.rows) {
            rows[(repetition * batch + $0) % rows.count]
          }
          plan.run(workspace, rows: bound)
          done += bound
        } catch {
          throw TrainingError(error)
        }
      }
      let after = Instant.now()
      if repetition >= warming { times.append(after.nanoseconds - before.nanoseconds) }
      // Encoders take milliseconds a row, and their medians settle sooner.
      if times.count >= Self.timesMin, after.microseconds(since: began) > Self.timingMicrosecondsMax { break }
    }
    times.sort()
    return Double(times[times.count / 2]) / 1000
  }
}
