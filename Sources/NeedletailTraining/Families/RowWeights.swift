internal import NeedletailCore

/// Weights by which rows count in a loss: those of `target.weight`, and those of their classes.
enum RowWeights {
  /// Weights that a class may have: beside the largest, fp32 sums still see the smallest.
  static let classWeights = 1e-3...1e4

  /// Key that families with a loss of classes have under `training`.
  static let setting = Setting(
    "class_weights", .wordOrNumbers(["none", "balanced"], classWeights), .text("none"),
    "With balanced, each class counts as much as any other, however few its rows; or a number for each class, 1 where "
      + "none is given.")

  /// Weight of each class: with `balanced` so that all count alike, the weights of their rows included, and the sum
  /// over all rows stays.
  ///
  /// - Returns: none where the run asks for none.
  static func ofClasses<Input>(_ context: FitContext<Input>) -> [Float] {
    guard context.classCount > 0 else { return [] }
    let labels =
      context.labels.count == context.classCount
      ? context.labels : [String](repeating: "", count: context.classCount)
    return ofClasses(
      context.training[setting.key], labels, targets: context.train.targets, weights: context.train.weights)
  }

  /// The same for training rows of these targets and weights.
  private static func ofClasses(
    _ setting: Document, _ labels: [String], targets: [Double], weights: [Float]
  ) -> [Float] {
    if setting.text == "balanced" {
      var sums = [Double](repeating: 0, count: labels.count)
      for (row, target) in targets.enumerated() { sums[Int(target)] += weights.isEmpty ? 1 : Double(weights[row]) }
      let total = sums.reduce(0, +)
      return sums.map { $0 > 0 ? Float(total / (Double(labels.count) * $0)) : 1 }
    }
    guard !setting.entries.isEmpty else { return [] }
    return labels.map { Float(setting[$0].number ?? 1) }
  }

  /// Weights by which judged rows count in the weighted figures: those of the rows, times those that their classes had in
  /// training.
  ///
  /// - Returns: none where the run has neither.
  static func ofJudged(_ rows: [Int], _ data: PreparedData, _ configuration: RunConfiguration) -> [Double] {
    let own = data.dataset.weights
    let train = data.split.train
    let classes =
      data.labels.isEmpty
      ? []
      : ofClasses(
        configuration.document["training"][setting.key], data.labels, targets: data.targets(train),
        weights: own.isEmpty ? [] : train.map { own[$0] })
    guard !own.isEmpty || !classes.isEmpty else { return [] }
    return rows.map { row in
      (own.isEmpty ? 1 : Double(own[row])) * (classes.isEmpty ? 1 : Double(classes[Int(data.targets[row])]))
    }
  }

  /// Weight of each row, that of its class included; none where all are 1.
  static func of<Input>(_ samples: Samples<Input>, _ classWeights: [Float]) -> [Float] {
    guard !classWeights.isEmpty else { return samples.weights }
    return samples.targets.enumerated().map { row, target in
      classWeights[Int(target)] * (samples.weights.isEmpty ? 1 : samples.weights[row])
    }
  }

  /// The same as parts of 1, in double precision.
  ///
  /// - Throws: `TrainingError` where all rows of a class, or all of a regression, have the weight 0.
  static func shares<Input>(_ context: FitContext<Input>) throws(TrainingError) -> [Double] {
    try check(context)
    let weights = of(context.train, ofClasses(context))
    let count = context.train.count
    guard !weights.isEmpty else { return [Double](repeating: 1 / Double(count), count: count) }
    let total = weights.reduce(0) { $0 + Double($1) }
    return weights.map { Double($0) / total }
  }

  /// - Throws: `TrainingError` where all rows of a class, or all of a regression, have the weight 0.
  static func check<Input>(_ context: FitContext<Input>) throws(TrainingError) {
    let samples = context.train
    guard !samples.weights.isEmpty else { return }
    var sums = [Double](repeating: 0, count: max(context.classCount, 1))
    for (row, weight) in samples.weights.enumerated() {
      sums[context.classCount > 0 ? Int(samples.targets[row]) : 0] += Double(weight)
    }
    guard sums.allSatisfy({ $0 > 0 }) else {
      let place = context.classCount > 0 ? "in each class of the training rows" : "among the training rows"
      throw .fit("target.weight: expected numbers above 0 \(place), found only zeros")
    }
  }

  /// Holds the classes that a run file gives weights to against those of the data.
  ///
  /// - Throws: `TrainingError` that names a class which is none.
  static func check(_ configuration: RunConfiguration, labels: [String]) throws(TrainingError) {
    let path = "training.\(setting.key)"
    let given = configuration.document["training"][setting.key]
    func fault(_ key: String, _ message: String) -> TrainingError {
      .configuration(configuration.location(of: key), "\(path): \(message)")
    }
    guard given != .null, given.text != "none" else { return }
    guard !labels.isEmpty else { throw fault(path, "expected none for a target of numbers, found some") }
    for entry in given.entries where !labels.contains(entry.key) {
      throw fault(
        "\(path).\(entry.key)",
        "expected a class, found \(entry.key.quotedForMessage)" + Suggestion.clause(for: entry.key, among: labels))
    }
  }
}
