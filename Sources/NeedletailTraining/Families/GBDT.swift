internal import CNeedletailTraining
internal import Glibc
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
  let modelSettings = [
    Setting("trees", .integer(1...Limits.treesMax), .integer(500), "Rounds of boosting at most."),
    Setting("leaves", .integer(2...4096), .integer(31), "Leaves of a tree at most."),
    Setting("depth", .integer(0...64), .integer(0), "Splits from the root to a leaf at most; 0: any."),
    Setting(
      "growth", .choice(["leaf", "level"]), .text("leaf"), "Splits the leaf that gains most first, or level by level."),
    Setting("bins", .integer(2...255), .integer(255), "Intervals that a column of numbers is cut into."),
    Setting("rising", .list(.text), .list([]), "Columns of numbers whose rising never lowers the answer."),
    Setting("falling", .list(.text), .list([]), "Columns of numbers whose rising never raises the answer."),
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
    Setting("column_sample", .number(0.001...1), .number(1), "Share of the columns that a tree may ask about."),
    Setting(
      "category_smoothing", .number(0...1e9), .number(10),
      "Categories with fewer rows in a node go right, and it is added to a category's hessians where they are ordered."),
    Setting("category_l2", .number(0...1e9), .number(10), "Added to l2 for splits by categories."),
    Setting("categories_max", .integer(1...254), .integer(32), "Categories on the smaller side of a split."),
    Setting(
      "class_weights", .choice(["none", "balanced"]), .text("none"),
      "With balanced, each class counts as much as any other, however few its rows."),
    Setting("threads", .integer(0...64), .integer(0), "Threads that learn; 0: one for each processor."),
  ]

  /// Bytes of the histograms of one tree's open leaves. Deep trees on thousands of columns would take all memory.
  static let histogramBytesMax = 2 << 30

  func fit(_ context: FitContext<FeatureColumns>) throws(TrainingError) -> any FittedModel {
    let settings = settings(context)
    guard settings.patience == 0 || context.validation.count > 0 else {
      throw .fit(
        "training.patience: expected validation rows to stop by, found none; set split.validation or patience: 0")
    }
    let rowsMax = Int(NT_BOOST_ROWS_MAX)
    guard context.train.count <= rowsMax else {
      throw .fit(
        "training rows: expected at most \(Figures.count(rowsMax)), found \(Figures.count(context.train.count))")
    }
    let treesMax = Limits.treesMax / max(context.classCount, 1)
    guard context.classCount <= 2 || settings.treesMax <= treesMax else {
      throw .fit(
        "model.trees: expected at most \(treesMax), a tree for each of \(context.classCount) classes and round, "
          + "found \(settings.treesMax)")
    }
    let directions = try directions(context)
    let columns = ColumnBins.learn(
      from: context.train.inputs, binsMax: context.model["bins"].integer ?? 255, seed: context.seed,
      threads: settings.rules.threads)
    let bytes = columns.reduce(0) { $0 + ($1.count + 2) * MemoryLayout<nt_boost_sums>.stride }
    guard settings.rules.leavesMax * bytes <= Self.histogramBytesMax else {
      throw .fit(
        "model.leaves: expected at most \(Self.histogramBytesMax / bytes), whose histograms of \(columns.count) columns "
          + "fit \(Figures.bytes(Self.histogramBytesMax)), found \(settings.rules.leavesMax); lower model.leaves or "
          + "model.bins")
    }
    var boosting = Boosting(
      context, settings, columns: columns, classWeights: classWeights(context), directions: directions)
    return FittedTrees(
      try boosting.run(), columns: columns, inputs: context.train.inputs, task: context.task,
      classCount: context.classCount)
  }

  private func settings(_ context: FitContext<FeatureColumns>) -> Boosting.Settings {
    let (model, training) = (context.model, context.training)
    func number(_ key: String) -> Double { training[key].number ?? 0 }
    var settings = Boosting.Settings()
    settings.treesMax = model["trees"].integer ?? 1
    settings.rowShare = number("row_sample")
    settings.columnShare = number("column_sample")
    settings.patience = training["patience"].integer ?? 0
    settings.rules.leavesMax = model["leaves"].integer ?? 2
    if let depth = model["depth"].integer, depth > 0 { settings.rules.depthMax = depth }
    settings.rules.isByLevel = model["growth"].text == "level"
    settings.rules.rowsMin = training["rows_min"].integer ?? 1
    settings.rules.weightMin = number("weight_min")
    settings.rules.gainMin = number("gain_min")
    settings.rules.l1 = number("l1")
    settings.rules.l2 = number("l2")
    settings.rules.learningRate = number("learning_rate")
    settings.rules.categorySmoothing = number("category_smoothing")
    settings.rules.categoryL2 = number("category_l2")
    settings.rules.categoriesMax = training["categories_max"].integer ?? 1
    let processors = max(1, min(sysconf(Int32(_SC_NPROCESSORS_ONLN)), 64))
    let wanted = training["threads"].integer ?? 0
    settings.rules.threads = wanted == 0 ? processors : wanted
    EnginePool.start(threads: max(settings.rules.threads, processors))
    return settings
  }

  /// Rows of all classes count alike together, and the mean weight of a row is 1.
  private func classWeights(_ context: FitContext<FeatureColumns>) -> [Float] {
    guard context.training["class_weights"].text == "balanced", context.classCount > 0 else { return [] }
    var counts = [Int](repeating: 0, count: context.classCount)
    for target in context.train.targets { counts[Int(target)] += 1 }
    return counts.map { Float(Double(context.train.count) / Double(context.classCount * max($0, 1))) }
  }

  private func directions(_ context: FitContext<FeatureColumns>) throws(TrainingError) -> [Int] {
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
    guard context.classCount <= 2 || directions.allSatisfy({ $0 == 0 }) else {
      throw .fit("model.rising, model.falling: expected none for \(context.classCount) classes, found some")
    }
    return directions
  }
}

/// Trees that were grown, with the split that bins stand for.
struct FittedTrees: FittedModel {
  let model: TreeModel
  let task: ModelGraph.Task
  let classCount: Int
  let importance: [FeatureImportance]
  let notes: [String]

  init(
    _ outcome: Boosting.Outcome, columns: [ColumnBins], inputs: FeatureColumns, task: ModelGraph.Task, classCount: Int
  ) {
    let outputs = outcome.bias.count
    self.task = task
    self.classCount = classCount
    var trees: [TreeModel.Tree] = []
    var gains = [Double](repeating: 0, count: inputs.columns.count)
    var counts = [Int](repeating: 0, count: inputs.columns.count)
    for (index, tree) in outcome.trees.enumerated() {
      let covers = tree.steps.map { _ in 0.0 } + tree.counts.map { Double($0) }
      trees.append(TreeModel.Tree(nodes: Self.nodes(tree, columns), output: index % outputs, covers: covers))
      for record in tree.records {
        gains[columns[record.feature].column] += record.gain
        counts[columns[record.feature].column] += 1
      }
    }
    var model = TreeModel(comparison: .atMost, sums: .float32, outputs: outputs, trees: trees)
    model.bias = outcome.bias.map { Double($0) }
    self.model = model
    let total = gains.reduce(0, +)
    importance = inputs.columns.indices.map { column in
      FeatureImportance(
        name: inputs.columns[column].feature.name, gainShare: total > 0 ? gains[column] / total : 0,
        splits: counts[column])
    }
    let leaves = outcome.trees.reduce(0) { $0 + $1.values.count }
    notes = [outcome.note, "\(Figures.count(outcome.trees.count)) trees, \(Figures.count(leaves)) leaves"]
  }

  /// Splits first, then leaves, as the steps number them.
  private static func nodes(_ tree: GrownTree, _ columns: [ColumnBins]) -> [TreeModel.Node] {
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
    return splits + tree.values.map { .leaf([Double($0)]) }
  }

  func export(into graph: inout GraphBuilder, input: Int) throws(TrainingError) -> OutputHead {
    let ensemble: TreeEnsemble
    do throws(TreeModelError) {
      ensemble = try model.ensemble()
    } catch {
      throw .fit("model.trees: \(error); lower model.trees or model.leaves")
    }
    let sums = try graph.add(ensemble, columns: model.outputs, name: "trees", from: input)
    guard task == .classification else { return .number(sums) }
    return classCount == 2 ? .logOdds(sums) : .logits(sums)
  }
}
