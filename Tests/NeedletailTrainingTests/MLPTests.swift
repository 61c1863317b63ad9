import NeedletailCore
import NeedletailEngine
import Testing

@testable import NeedletailTraining

@Suite struct MLPTests {
  private let family = MLP()

  /// Inside or outside of a circle: no line separates them.
  private func circle(rows: Int, seed: UInt64) -> Samples<Matrix> {
    let inputs = Synthetic.inputs(rows: rows, columns: 2, seed: seed)
    let targets = (0..<rows).map { row in
      inputs[row, 0] * inputs[row, 0] + inputs[row, 1] * inputs[row, 1] < 1.4 ? 1.0 : 0.0
    }
    return Samples(inputs: inputs, targets: targets)
  }

  private func context(
    task: ModelGraph.Task = .classification, train: Samples<Matrix>, validation: Samples<Matrix>,
    model: [String: Document] = [:],
    training: [String: Document] = [:], seed: UInt64 = 1, progress: @escaping (EpochReport) -> Void = { _ in }
  ) -> FitContext<CodedRows> {
    func coded(_ samples: Samples<Matrix>) -> Samples<CodedRows> {
      Samples(inputs: CodedRows(samples.inputs), targets: samples.targets, weights: samples.weights)
    }
    var settings: [String: Document] = ["epochs": .integer(40), "learning_rate": .number(0.01)]
    settings.merge(training) { $1 }
    return FitContext(
      family, task: task, classCount: task == .classification ? 2 : 0, train: coded(train),
      validation: coded(validation),
      model: ["hidden": .list([.integer(16)])].merging(model) { $1 }, training: settings, seed: seed,
      progress: progress)
  }

  @Test(arguments: ["adam", "adamw", "sgd"], ["relu", "tanh", "gelu", "logistic"])
  func learnsWhatNoLineSeparates(optimiser: String, activation: String) throws {
    let rates: [String: Double] = ["adam": 0.03, "adamw": 0.03, "sgd": activation == "logistic" ? 0.5 : 0.05]
    var best = 0.0
    _ = try family.fit(
      context(
        train: circle(rows: 400, seed: 1), validation: circle(rows: 200, seed: 2),
        model: ["activation": .text(activation)],
        training: [
          "optimiser": .text(optimiser), "learning_rate": .number(try #require(rates[optimiser])),
          "weight_decay": .number(0), "epochs": .integer(100),
        ],
        progress: { best = max(best, $0.validationMetric ?? 0) }))
    #expect(best > 0.9)
  }

  @Test func foldedLayersAnswerAsTheTrainedNetwork() throws {
    // Numbers, two categories of which one is embedded, batch normalisation: what is exported has none of them.
    var random = RandomSource(seed: 2)
    let numbers = Synthetic.inputs(rows: 300, columns: 2, seed: 5)
    let codes = (0..<300).map { _ in Int32(random.index(below: 9)) - 1 }
    let few = (0..<300).map { _ in Int32(random.index(below: 3)) }
    let rows = CodedRows(
      columns: 14, categories: [.init(columns: 1..<10, codes: codes), .init(columns: 10..<13, codes: few)],
      numbers: numbers)
    let targets = (0..<300).map { row in
      3 + Double(numbers[row, 0]) + Double(codes[row] % 3) - 2 * Double(few[row]) * Double(numbers[row, 1])
    }
    let samples = Samples(inputs: rows, targets: targets)
    var metric = 0.0
    let context = FitContext(
      family, task: .regression, train: samples, validation: samples,
      model: ["hidden": .list([.integer(16), .integer(8)]), "batch_norm": .flag(true), "embedding": .integer(4)],
      training: ["epochs": .integer(120), "learning_rate": .number(0.02), "patience": .integer(0)],
      progress: { if $0.epoch == $0.bestEpoch { metric = $0.validationMetric ?? 0 } })
    let fitted = try #require(try family.fit(context) as? FittedMLP)
    #expect(metric > 0.95)
    var squares = 0.0
    for row in 0..<300 {
      var x = [Double](repeating: 0, count: 14)
      (x[0], x[13]) = (Double(numbers[row, 0]), Double(numbers[row, 1]))
      if codes[row] >= 0 { x[1 + Int(codes[row])] = 1 }
      x[10 + Int(few[row])] = 1
      for (index, layer) in fitted.layers.enumerated() {
        x = (0..<layer.weights.rows).map { output in
          let sum = x.indices.reduce(Double(layer.bias[output])) { $0 + x[$1] * Double(layer.weights[output, $1]) }
          return index == fitted.layers.count - 1 ? sum : max(sum, 0)
        }
      }
      squares += (x[0] - targets[row]) * (x[0] - targets[row])
    }
    let mean = targets.reduce(0, +) / 300
    let spread = targets.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
    #expect(abs(1 - squares / spread - metric) < 1e-4)
    // Level 8 of the first category has no row: it answers as a row without a category does.
    let first = fitted.layers[0].weights
    #expect((0..<first.rows).allSatisfy { first[$0, 9] == 0 } && (0..<first.rows).contains { first[$0, 8] != 0 })
  }

  @Test func batchesOfOneRowCannotBeNormalised() throws {
    let samples = circle(rows: 21, seed: 1)
    let error = #expect(throws: TrainingError.self) {
      _ = try family.fit(
        context(
          train: samples, validation: samples, model: ["batch_norm": .flag(true)],
          training: ["batch_size": .integer(1)]))
    }
    #expect(error?.message == "training.batch_size: expected at least 2 rows for model.batch_norm, found 1")
    // A last batch of one row is left out.
    _ = try family.fit(
      context(
        train: samples, validation: samples, model: ["batch_norm": .flag(true)],
        training: ["batch_size": .integer(4), "epochs": .integer(2)]))
  }

  @Test func threadsDoNotChangeTheWeights() throws {
    func layers(_ threads: Int) throws -> [Matrix] {
      let fitted = try family.fit(
        context(
          train: circle(rows: 600, seed: 1), validation: circle(rows: 50, seed: 2),
          model: ["hidden": .list([.integer(128), .integer(128)])],
          training: ["epochs": .integer(2), "batch_size": .integer(300), "threads": .integer(threads)]))
      return try #require(fitted as? FittedMLP).layers.map(\.weights)
    }
    #expect(try layers(1) == layers(2))
  }

  @Test func rowsWithoutWeightTeachNothing() throws {
    // Half of the rows have the wrong class, and no weight.
    var train = circle(rows: 400, seed: 1)
    train.weights = (0..<400).map { Float($0 % 2) * 3 }
    for row in stride(from: 0, to: 400, by: 2) { train.targets[row] = 1 - train.targets[row] }
    var best = 0.0
    _ = try family.fit(
      context(
        train: train, validation: circle(rows: 200, seed: 2), training: ["learning_rate": .number(0.03)],
        progress: { best = max(best, $0.validationMetric ?? 0) }))
    #expect(best > 0.9)
    let samples = Samples(
      inputs: Synthetic.inputs(rows: 300, columns: 2, seed: 4),
      targets: (0..<300).map { $0 % 2 == 0 ? -1e6 : Double($0) }, weights: (0..<300).map { Float($0 % 2) })
    let fitted = try family.fit(
      context(task: .regression, train: samples, validation: samples, training: ["epochs": .integer(1)]))
    #expect(try #require((fitted as? FittedMLP)?.layers.last?.bias[0]) > 0)
  }

  @Test func aNumberIsLearnedInItsOwnUnits() throws {
    let inputs = Synthetic.inputs(rows: 300, columns: 2, seed: 4)
    let targets = (0..<300).map { 1000 + 200 * Double(inputs[$0, 0]) }
    let samples = Samples(inputs: inputs, targets: targets)
    var metric = 0.0
    let fitted = try family.fit(
      context(task: .regression, train: samples, validation: samples, progress: { metric = $0.validationMetric ?? 0 }))
    #expect(metric > 0.98)
    let bias = try #require((fitted as? FittedMLP)?.layers.last?.bias[0])
    #expect(bias > 500)
  }

  @Test func aColumnWithoutValuesGetsNoWeight() throws {
    var samples = circle(rows: 60, seed: 1)
    for row in 0..<60 { samples.inputs[row, 1] = 0 }
    let fitted = try family.fit(
      context(train: samples, validation: samples, model: ["dropout": .number(0.1)], training: ["epochs": .integer(3)]))
    let weights = try #require(fitted as? FittedMLP).layers[0].weights
    #expect((0..<16).allSatisfy { weights[$0, 1] == 0 })
    #expect((0..<16).contains { weights[$0, 0] != 0 })
  }

  @Test func theSameSeedGivesTheSameWeights() throws {
    func layers(_ seed: UInt64) throws -> [Matrix] {
      let fitted = try family.fit(
        context(
          train: circle(rows: 100, seed: 1), validation: circle(rows: 50, seed: 2), model: ["dropout": .number(0.2)],
          training: ["epochs": .integer(3)], seed: seed))
      return try #require(fitted as? FittedMLP).layers.map(\.weights)
    }
    #expect(try layers(5) == layers(5))
    #expect(try layers(5) != layers(6))
  }

  @Test func stopsEarlyAndKeepsTheBestWeights() throws {
    // Targets without any pattern: the validation loss is best near the start.
    var random = RandomSource(seed: 1)
    let noise = { (rows: Int, seed: UInt64) in
      Samples(
        inputs: Synthetic.inputs(rows: rows, columns: 10, seed: seed),
        targets: (0..<rows).map { _ in Double(random.index(below: 2)) })
    }
    var reports: [EpochReport] = []
    let fitted = try family.fit(
      context(
        train: noise(60, 1), validation: noise(60, 2),
        training: ["epochs": .integer(300), "patience": .integer(5)], progress: { reports.append($0) }))
    let best = try #require(reports.indices.min { reports[$0].validationLoss ?? 9 < reports[$1].validationLoss ?? 9 })
    #expect(reports.count == best + 1 + 5)
    #expect(fitted.notes == ["stopped early at epoch \(best + 6), best was \(best + 1)"])
  }

  @Test func anExplodingLossIsNamedWithAdvice() throws {
    let samples = circle(rows: 100, seed: 1)
    let error = #expect(throws: TrainingError.self) {
      _ = try family.fit(
        context(
          train: samples, validation: samples,
          training: [
            "optimiser": .text("sgd"), "learning_rate": .number(1000), "gradient_clip": .number(0),
            "weight_decay": .number(100),
          ]))
    }
    #expect(error?.kind == .fit)
    #expect(error?.message.contains("lower training.learning_rate (now 1000)") == true)
  }

  @Test func earlyStoppingNeedsValidationRows() throws {
    let samples = circle(rows: 20, seed: 1)
    let none = Samples(inputs: Matrix(rows: 0, columns: 2), targets: [])
    #expect(throws: TrainingError.self) { _ = try family.fit(context(train: samples, validation: none)) }
    let fitted = try family.fit(
      context(train: samples, validation: none, training: ["patience": .integer(0), "epochs": .integer(2)]))
    #expect(fitted.notes == ["2 epochs"])
  }
}
