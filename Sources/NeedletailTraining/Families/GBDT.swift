internal import CNeedletailTraining
internal import NeedletailCore
internal import NeedletailEngine

/// Gradient-boosted decision trees, grown on histograms.
///
/// The same data, settings and seed give the same trees on the same machine, on any number of threads. Thresholds are
/// fp64 and the sums fp32 in the order of the trees, as the engine computes them: a server answers what was learned, to
/// the bit.
struct GBDT: ModelFamily {
  let name = "gbdt"
  let summary = "gradient-boosted decision trees, for classes and numbers; takes gaps and categories as they are."
  let tasks: Set<ModelGraph.Task> = [.classification, .regression]
  let usesValidationRows = true
  let usesWeights = true
  let usesCheckpoints = true
  let modelSettings = [
    Setting(
      "loss", .choice(BoostLoss.names), .text("auto"),
      "What is minimised. auto: squared for numbers, cross-entropy for classes; rank orders the rows of a group."),
    Setting(
      "quantile", .number(0.001...0.999), .number(0.5), "With loss: quantile, the share of rows below the answer."),
    Setting(
      "huber_width", .number(1e-9...1e9), .number(1),
      "With loss: huber, the distance beyond which errors count linearly."),
    Setting(
      "tweedie_power", .number(1.001...1.999), .number(1.5),
      "With loss: tweedie, the power of the mean that the variance is."),
    Setting("rank_places", .integer(1...10_000), .integer(30), "With loss: rank, the places of a ranking that count."),
    Setting("trees", .integer(1...Limits.treesMax), .integer(500), "Rounds of boosting at most."),
    Setting("leaves", .integer(2...4096), .integer(31), "Leaves of a tree at most."),
    Setting("depth", .integer(0...64), .integer(0), "Splits from the root to a leaf at most; 0: any."),
    Setting(
      "growth", .choice(["leaf", "level"]), .text("leaf"), "Splits the leaf that gains most first, or level by level."),
    Setting("bins", .integer(2...255), .integer(255), "Intervals that a column of numbers is cut into."),
    Setting(
      "bin_rows_min", .integer(1...1_000_000), .integer(3),
      "Rows that an interval holds at least, so that no split isolates a number by chance."),
    Setting("rising", .list(.text), .list([]), "Columns of numbers whose rising never lowers the answer."),
    Setting("falling", .list(.text), .list([]), "Columns of numbers whose rising never raises the answer."),
    Setting(
      "interactions", .list(.list(.text)), .list([]),
      "Lists of columns that may depend on each other; one that is in no list depends on none. Empty: all may."),
  ]
  let trainingSettings = [
    Setting("learning_rate", .number(1e-6...1), .number(0.1), "Share of each tree's answer that is added."),
    Setting(
      "patience", .integer(0...1_000_000), .integer(50),
      "Rounds without a better validation loss before it stops; the best rounds are kept. 0: never."),
    Setting("l1", .number(0...1e9), .number(0), "Taken off the sum of gradients of a leaf."),
    Setting("l2", .number(0...1e9), .number(1), "Added to the sum of hessians of a leaf."),
    Setting("gain_min", .number(0...1e12), .number(0), "Smallest gain of a split."),
    Setting("rows_min", .integer(1...1_000_000), .integer(20), "Smallest number of rows of a leaf."),
    Setting("weight_min", .number(0...1e9), .number(0.001), "Smallest sum of hessians of a leaf."),
    Setting("row_sample", .number(0.001...1), .number(1), "Share of the rows that a tree learns from."),
    Setting(
      "column_sample", .number(0...1), .number(0),
      "Share of the columns that a tree may ask about; 0: half of them, but not fewer than 4."),
    Setting(
      "node_column_sample", .number(0.001...1), .number(1), "Share of a tree's columns that each node may ask about."),
    Setting(
      "category_smoothing", .number(0...1e9), .number(10),
      "Categories with fewer rows in a node go right, and it is added to a category's hessians where they are ordered."),
    Setting("category_l2", .number(0...1e9), .number(10), "Added to l2 for splits by categories."),
    Setting("categories_max", .integer(1...254), .integer(32), "Categories on the smaller side of a split."),
    RowWeights.setting,
    Setting("threads", .integer(0...64), .integer(0), "Threads that learn; 0: one for each processor."),
  ]

  func searchSettings(_ table: SearchTable) -> [SearchSetting] {
    let columns = Double(max(table.columns, 1))
    let rowsMin = max(2, min(200, table.rows / 20))
    let smoothing = SearchSetting.logarithmic("training.category_smoothing", 1.0...100, first: 10)
    return [
      .logarithmic("training.learning_rate", 0.02...0.3, first: 0.1),
      .logarithmic("model.leaves", 4...256, first: 31),
      .logarithmic("training.rows_min", 1...rowsMin, first: min(20, rowsMin)),
      .logarithmic("training.l2", 1e-3...100, first: 1),
      .number("training.row_sample", 0.4...1, first: 1),
      .number("training.column_sample", 0.2...1, first: min(1, max(0.5, 4 / columns))),
    ] + (table.hasCategories ? [smoothing] : [])
  }

  func tunedSettings(_ table: SearchTable) -> [(path: String, value: Document)] {
    [("model.trees", .integer(min(2000, Limits.treesMax / max(table.classes, 1))))]
  }

  /// Rounds times their learning rate: a slow trial is compared with what a fast one had learned by then.
  func tuningStep(of report: EpochReport, settings: Document) -> Int {
    Int((Double(report.epoch) * (settings["training"]["learning_rate"].number ?? 0.1) * 10).rounded(.up))
  }

  /// Bytes of the histograms of one tree's open leaves. Deep trees on thousands of columns would take all memory.
  static let histogramBytesMax = 2 << 30

  func fit(_ context: FitContext<FeatureColumns>) throws(TrainingError) -> any FittedModel {
    var settings = settings(context)
    let loss = try BoostLoss(context)
    guard settings.patience == 0 || context.validation.count > 0 else {
      throw .fit(
        "training.patience: expected validation rows to stop by, found none; set split.validation or patience: 0")
    }
    try TreeLimits.check(context)
    let treesMax = Limits.treesMax / max(context.classCount, 1)
    guard context.classCount <= 2 || settings.treesMax <= treesMax else {
      throw .fit(
        "model.trees: expected at most \(treesMax), a tree for each of \(context.classCount) classes and round, "
          + "found \(settings.treesMax)")
    }
    let directions = try directions(context, loss)
    let columns = ColumnBins.learn(
      from: context.train.inputs, binsMax: context.model["bins"].integer ?? 255,
      rowsMin: context.model["bin_rows_min"].integer ?? 1, seed: context.seed, threads: settings.rules.threads)
    settings.rules.interactions = try interactions(context, columns)
    let bytes = columns.reduce(0) { $0 + ($1.count + 2) * MemoryLayout<nt_boost_sums>.stride }
    guard settings.rules.leavesMax * bytes <= Self.histogramBytesMax else {
      throw .fit(
        "model.leaves: expected at most \(Self.histogramBytesMax / bytes), whose histograms of \(columns.count) columns "
          + "fit \(Figures.bytes(Self.histogramBytesMax)), found \(settings.rules.leavesMax); lower model.leaves or "
          + "model.bins")
    }
    var boosting = Boosting(
      context, settings, loss: loss, columns: columns, classWeights: RowWeights.ofClasses(context),
      directions: directions)
    return FittedTrees(
      try boosting.run(), columns: columns, inputs: context.train.inputs, task: context.task,
      classCount: context.classCount, isExponential: loss.isExponential)
  }

  private func settings(_ context: FitContext<FeatureColumns>) -> Boosting.Settings {
    let (model, training) = (context.model, context.training)
    func number(_ key: String) -> Double { training[key].number ?? 0 }
    var settings = Boosting.Settings()
    settings.treesMax = model["trees"].integer ?? 1
    settings.rowShare = number("row_sample")
    settings.columnShare = number("column_sample")
    if settings.columnShare == 0 {
      let columns = Double(max(context.train.inputs.columns.count, 1))
      settings.columnShare = min(1, max(0.5, 4 / columns))
    }
    settings.patience = training["patience"].integer ?? 0
    settings.rules.leavesMax = model["leaves"].integer ?? 2
    if let depth = model["depth"].integer, depth > 0 { settings.rules.depthMax = depth }
    settings.rules.isByLevel = model["growth"].text == "level"
    settings.places = model["rank_places"].integer ?? 1
    settings.rules.nodeColumnShare = number("node_column_sample")
    settings.rules.rowsMin = training["rows_min"].integer ?? 1
    settings.rules.weightMin = number("weight_min")
    settings.rules.gainMin = number("gain_min")
    settings.rules.l1 = number("l1")
    settings.rules.l2 = number("l2")
    settings.rules.learningRate = number("learning_rate")
    settings.rules.categorySmoothing = number("category_smoothing")
    settings.rules.categoryL2 = number("category_l2")
    settings.rules.categoriesMax = training["categories_max"].integer ?? 1
    settings.rules.threads = TreeLimits.threads(training["threads"].integer ?? 0)
    return settings
  }

  private func directions(_ context: FitContext<FeatureColumns>, _ loss: BoostLoss) throws(TrainingError) -> [Int] {
    let columns = context.train.inputs.columns
    var directions = [Int](repeating: 0, count: columns.count)
    for (key, direction) in [("rising", 1), ("falling", -1)] {
      for name in context.model[key].elements.compactMap(\.text) {
        guard let index = columns.firstIndex(where: { $0.feature.name == name && !$0.isCategorical }) else {
          let names = columns.filter { !$0.isCategorical }.map(\.feature.name)
          throw .fit(
            "model.\(key): expected a column of numbers, found \(name.quotedForMessage)"
              + Suggestion.clause(for: name, among: names))
        }
        guard directions[index] == 0 || directions[index] == direction else {
          throw .fit("model.\(key): expected a column that is not rising as well, found \(name.quotedForMessage)")
        }
        directions[index] = direction
      }
    }
    guard loss.share == nil || directions.allSatisfy({ $0 == 0 }) else {
      throw .fit("model.rising, model.falling: expected none for loss absolute or quantile, found some")
    }
    guard context.classCount <= 2 || directions.allSatisfy({ $0 == 0 }) else {
      throw .fit("model.rising, model.falling: expected none for \(context.classCount) classes, found some")
    }
    return directions
  }

  /// Sets of features that may stand above each other in a tree: those of the run file, and each other feature alone.
  private func interactions(
    _ context: FitContext<FeatureColumns>, _ columns: [ColumnBins]
  ) throws(TrainingError) -> [[Int]] {
    let names = context.train.inputs.columns.map(\.feature.name)
    var sets: [[Int]] = []
    for list in context.model["interactions"].elements {
      var features: [Int] = []
      for name in list.elements.compactMap(\.text) {
        guard let column = names.firstIndex(of: name) else {
          throw .fit(
            "model.interactions: expected a feature column, found \(name.quotedForMessage)"
              + Suggestion.clause(for: name, among: names))
        }
        // A column that never changes has no bins.
        if let feature = columns.firstIndex(where: { $0.column == column }) { features.append(feature) }
      }
      sets.append(features.sorted())
    }
    guard !sets.isEmpty else { return [] }
    let named = Set(sets.joined())
    return sets + columns.indices.filter { !named.contains($0) }.map { [$0] }
  }
}

/// Trees that were grown, with the split that bins stand for.
struct FittedTrees: FittedModel {
  let model: TreeModel
  let task: ModelGraph.Task
  let classCount: Int
  /// True where the answer is e to the power of the sum.
  let isExponential: Bool
  /// True where leaves hold the shares of classes.
  let isForest: Bool
  let importance: [FeatureImportance]
  let notes: [String]

  init(
    _ outcome: Boosting.Outcome, columns: [ColumnBins], inputs: FeatureColumns, task: ModelGraph.Task, classCount: Int,
    isExponential: Bool = false
  ) {
    let outputs = outcome.bias.count
    self.task = task
    self.classCount = classCount
    self.isExponential = isExponential
    isForest = false
    var trees: [TreeModel.Tree] = []
    for (index, tree) in outcome.trees.enumerated() {
      let covers = tree.steps.map { _ in 0.0 } + tree.counts.map { Double($0) }
      trees.append(TreeModel.Tree(nodes: Self.nodes(tree, columns), output: index % outputs, covers: covers))
    }
    var model = TreeModel(comparison: .atMost, sums: .float32, outputs: outputs, trees: trees)
    model.bias = outcome.bias.map { Double($0) }
    self.model = model
    importance = Self.importance(of: outcome.trees, columns, inputs)
    let leaves = outcome.trees.reduce(0) { $0 + $1.values.count }
    notes = [outcome.note, "\(Figures.count(outcome.trees.count)) trees, \(Figures.count(leaves)) leaves"]
  }

  /// - Parameters:
  ///   - bias: added to the mean of the trees; none where leaves hold the shares of classes.
  init(forest: [GrownTree], bias: [Float], columns: [ColumnBins], inputs: FeatureColumns, classCount: Int) {
    task = bias.isEmpty ? .classification : .regression
    self.classCount = classCount
    isExponential = false
    isForest = true
    let width = max(classCount, 1)
    let trees = forest.map { tree in
      TreeModel.Tree(
        nodes: Self.nodes(tree, columns, width: width),
        covers: tree.steps.map { _ in 0.0 } + tree.counts.map { Double($0) })
    }
    var model = TreeModel(comparison: .atMost, sums: .float32, outputs: width, trees: trees)
    model.divisor = Double(forest.count)
    model.bias = bias.map { Double($0) }
    self.model = model
    importance = Self.importance(of: forest, columns, inputs)
    let leaves = forest.reduce(0) { $0 + $1.counts.count }
    notes = ["\(Figures.count(forest.count)) trees, \(Figures.count(leaves)) leaves"]
  }

  private static func importance(
    of trees: [GrownTree], _ columns: [ColumnBins], _ inputs: FeatureColumns
  ) -> [FeatureImportance] {
    var gains = [Double](repeating: 0, count: inputs.columns.count)
    var counts = [Int](repeating: 0, count: inputs.columns.count)
    for record in trees.lazy.flatMap(\.records) {
      gains[columns[record.feature].column] += record.gain
      counts[columns[record.feature].column] += 1
    }
    let total = gains.reduce(0, +)
    return inputs.columns.indices.map { column in
      FeatureImportance(
        name: inputs.columns[column].feature.name, gainShare: total > 0 ? gains[column] / total : 0,
        splits: counts[column])
    }
  }

  /// Splits first, then leaves, as the steps number them.
  private static func nodes(_ tree: GrownTree, _ columns: [ColumnBins], width: Int = 1) -> [TreeModel.Node] {
    func index(_ child: Int32) -> Int { child >= 0 ? Int(child) : tree.steps.count + Int(~child) }
    let splits = zip(tree.steps, tree.records).map { step, record in
      let bins = columns[record.feature]
      let test: TreeModel.Split.Test
      switch bins.kind {
      case .numbers(let bounds):
        // Behind the last bound there are missing values only.
        test = .threshold(record.bin < bounds.count ? bounds[record.bin] : .greatestFiniteMagnitude)
      case .categories(let codes):
        let words = [step.members.0, step.members.1, step.members.2, step.members.3]
        let members = codes.indices.filter { words[$0 >> 6] >> UInt64($0 & 63) & 1 == 1 }
        test = .categories(members.map { codes[$0] })
      }
      return TreeModel.Node.split(
        TreeModel.Split(
          column: bins.column, test: test, missing: record.missingGoesLeft ? .left : .right, left: index(step.left),
          right: index(step.right)))
    }
    return splits
      + tree.counts.indices.map { .leaf(tree.values[($0 * width)..<(($0 + 1) * width)].map { Double($0) }) }
  }

  func export(into graph: inout GraphBuilder, input: Int) throws(TrainingError) -> OutputHead {
    let ensemble: TreeEnsemble
    do throws(TreeModelError) {
      ensemble = try model.ensemble()
    } catch {
      throw .fit("model.trees: \(error); lower model.trees or model.leaves")
    }
    let sums = try graph.add(ensemble, columns: model.outputs, name: "trees", from: input)
    if isExponential { return .number(try graph.add(Exp(), name: "exp", from: sums)) }
    guard task == .classification else { return .number(sums) }
    if isForest { return .probabilities(sums) }
    return classCount == 2 ? .logOdds(sums) : .logits(sums)
  }
}
