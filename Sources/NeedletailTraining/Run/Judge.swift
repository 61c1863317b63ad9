internal import NeedletailCore
internal import NeedletailEngine

/// A graph as the server would run it, and how it does on the rows it did not learn from.
struct Verdict {
  let definition: ModelDefinition
  let compiled: CompiledModel
  let validation: Evaluation
  let test: Evaluation
  let microsecondsPerRow: Double
  let tensorBytes: Int
}

/// Compiles candidate graphs with the server's engine and measures them.
struct Judge {
  let trainCells: [[Cell]]
  private let data: PreparedData
  private let configuration: RunConfiguration
  private let validationCells: [[Cell]]
  private let testCells: [[Cell]]
  private let calibrationCells: [[Cell]]

  init(_ data: PreparedData, _ configuration: RunConfiguration) throws(TrainingError) {
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

  func judge(_ graph: ModelGraph) throws(TrainingError) -> Verdict {
    let definition = ModelDefinition(schema: data.preprocessing.schema, graph: graph, labels: data.labels)
    let compiled = try compile(definition)
    return Verdict(
      definition: definition, compiled: compiled,
      validation: try Evaluation(compiled, rows: validationCells, targets: data.targets(data.split.validation)),
      test: try Evaluation(compiled, rows: testCells, targets: data.targets(data.split.test)),
      microsecondsPerRow: try RowRunner(compiled).microsecondsPerRow(testCells),
      tensorBytes: Quantiser.tensorBytes(of: graph))
  }

  private func compile(_ definition: ModelDefinition) throws(TrainingError) -> CompiledModel {
    do throws(PlanError) {
      return try CompiledModel(definition)
    } catch {
      throw TrainingError(error)
    }
  }

  /// Tries int8 under the gate.
  func quantise(_ graph: ModelGraph, _ fp32: Verdict) throws(TrainingError) -> (QuantisationGate.Decision, Verdict) {
    let gate = QuantisationGate(settings: configuration.quantisation, familyGains: configuration.family.gainsFromInt8)
    let reference = try RowRunner(fp32.compiled).run(count: calibrationCells.count) { calibrationCells[$0] }
    let decision = try gate.decide(
      layers: Quantiser.denseLayers(of: graph), weightCount: Quantiser.weightCount(of: graph),
      names: { graph.nodes[$0].name }
    ) { (layers) throws(TrainingError) in
      try measure(Quantiser.quantise(graph, layers: layers), fp32, reference: reference[0])
    }
    guard !decision.int8Layers.isEmpty else { return (decision, fp32) }
    return (decision, try judge(Quantiser.quantise(graph, layers: decision.int8Layers)))
  }

  private func measure(
    _ graph: ModelGraph, _ fp32: Verdict, reference: [Float]
  ) throws(TrainingError) -> QuantisationGate.Measurement {
    let definition = ModelDefinition(schema: data.preprocessing.schema, graph: graph, labels: data.labels)
    let compiled = try compile(definition)
    let validation = try Evaluation(compiled, rows: validationCells, targets: data.targets(data.split.validation))
    let test = try Evaluation(compiled, rows: testCells, targets: data.targets(data.split.test))
    func loss(_ before: Evaluation, _ after: Evaluation) -> Double? {
      guard let a = before.points, let b = after.points else { return nil }
      return a - b
    }
    let losses = [loss(fp32.validation, validation), loss(fp32.test, test)].compactMap { $0 }
    let found = try RowRunner(compiled).run(count: calibrationCells.count) { calibrationCells[$0] }[0]
    let deviation = zip(found, reference).reduce(0) { $0 + abs(Double($1.0) - Double($1.1)) }
    return .init(lossPoints: losses.max() ?? 0, deviation: deviation / Double(max(reference.count, 1)))
  }

  /// The model's answers for its own training rows, as a column.
  func trainingAnswers(_ verdict: Verdict, labels: [String]) throws(TrainingError) -> Table.Column {
    let outputs = try RowRunner(verdict.compiled).run(count: trainCells.count) { trainCells[$0] }
    if labels.isEmpty {
      return Table.Column(name: "prediction", values: .numbers(outputs[0].map { Double($0) }))
    }
    return Table.Column(name: "label", values: .categories(codes: outputs[1].map { Int32($0) }, categories: labels))
  }
}
