internal import CNeedletailTraining
internal import Glibc
internal import NeedletailCore
internal import NeedletailEngine

/// A random forest (Breiman, 2001): trees that each learn from rows drawn with replacement, their answers averaged.
///
/// Trees of several classes split by the variance of one number a class, drawn anew for each tree. Its mean over all
/// drawings is Gini's impurity, and the costs do not grow with the classes (Joly, Geurts and Wehenkel, 2014). With two
/// classes it is Gini's impurity itself.
struct RandomForest: ModelFamily {
  let name = "random_forest"
  let summary = "an average of decision trees, each on a sample of rows and columns, for classes and numbers."
  let tasks: Set<ModelGraph.Task> = [.classification, .regression]
  let usesWeights = true
  let usesCheckpoints = true
  let modelSettings = [
    Setting("trees", .integer(1...Limits.treesMax), .integer(100), "Trees of the forest."),
    Setting("leaves", .integer(2...4_000_000), .integer(4_000_000), "Leaves of a tree at most."),
    Setting("depth", .integer(0...Limits.treeDepthMax), .integer(0), "Splits from the root to a leaf at most; 0: any."),
    Setting("bins", .integer(2...255), .integer(255), "Intervals that a column of numbers is cut into."),
    Setting("bin_rows_min", .integer(1...1_000_000), .integer(1), "Rows that an interval holds at least."),
  ]
  let trainingSettings = [
    Setting(
      "rows_min", .integer(0...1_000_000), .integer(0),
      "Smallest number of rows of a leaf; 0: 1 for classes, 5 for numbers."),
    Setting("gain_min", .number(0...1e12), .number(0), "Smallest gain of a split."),
    Setting("row_sample", .number(0.001...1), .number(1), "Rows that are drawn for a tree, as a share of all."),
    Setting("bootstrap", .flag, .flag(true), "Rows are drawn with replacement; false: each at most once."),
    Setting(
      "node_column_sample", .number(0...1), .number(0),
      "Share of the columns that a node may ask about; 0: their square root for classes, half of them for numbers."),
    Setting(
      "category_smoothing", .number(0...1e9), .number(1),
      "Categories with fewer rows in a node go right, and it is added to a category's weight where they are ordered."),
    Setting("categories_max", .integer(1...254), .integer(254), "Categories on the smaller side of a split."),
    RowWeights.setting,
    Setting("threads", .integer(0...64), .integer(0), "Threads that learn; 0: one for each processor."),
  ]

  func searchSettings(_ table: SearchTable) -> [SearchSetting] {
    let columns = Double(max(table.columns, 1))
    let isOfClasses = table.task == .classification
    return [
      .number("training.node_column_sample", 0.05...1, first: isOfClasses ? 1 / columns.squareRoot() : 0.5),
      .logarithmic("training.rows_min", 1...50, first: isOfClasses ? 1 : 5),
      .number("training.row_sample", 0.4...1, first: 1),
    ]
  }

  func tunedSettings(_ table: SearchTable) -> [(path: String, value: Document)] { [("model.trees", .integer(200))] }

  func fit(_ context: FitContext<FeatureColumns>) throws(TrainingError) -> any FittedModel {
    let rules = rules(context)
    try TreeLimits.check(context)
    let columns = ColumnBins.learn(
      from: context.train.inputs, binsMax: context.model["bins"].integer ?? 255,
      rowsMin: context.model["bin_rows_min"].integer ?? 1, seed: context.seed, threads: rules.threads)
    var forest = Forest(context, rules, columns: columns)
    let trees = try forest.grow(context.model["trees"].integer ?? 1)
    return FittedTrees(
      forest: trees, bias: forest.bias, columns: columns, inputs: context.train.inputs, classCount: context.classCount)
  }

  private func rules(_ context: FitContext<FeatureColumns>) -> GrowthRules {
    let (model, training) = (context.model, context.training)
    let isOfClasses = context.task == .classification
    var rules = GrowthRules()
    rules.isDepthFirst = true
    rules.leavesMax = model["leaves"].integer ?? 2
    if let depth = model["depth"].integer, depth > 0 { rules.depthMax = depth }
    let rowsMin = training["rows_min"].integer ?? 0
    rules.rowsMin = rowsMin > 0 ? rowsMin : isOfClasses ? 1 : 5
    rules.weightMin = 0
    rules.gainMin = training["gain_min"].number ?? 0
    rules.l2 = 0
    rules.learningRate = 1
    rules.categorySmoothing = training["category_smoothing"].number ?? 0
    rules.categoryL2 = 0
    rules.categoriesMax = training["categories_max"].integer ?? 1
    let share = training["node_column_sample"].number ?? 0
    let columns = Double(max(context.train.inputs.columns.count, 1))
    rules.nodeColumnShare = share > 0 ? share : isOfClasses ? columns.squareRoot() / columns : 0.5
    rules.threads = TreeLimits.threads(training["threads"].integer ?? 0)
    return rules
  }
}

/// What the families of trees share: bounds of rows, and threads.
enum TreeLimits {
  static func check(_ context: FitContext<FeatureColumns>) throws(TrainingError) {
    let (rowsMax, samples) = (Int(NT_BOOST_ROWS_MAX), context.train)
    guard samples.count <= rowsMax else {
      throw .fit("training rows: expected at most \(Figures.count(rowsMax)), found \(Figures.count(samples.count))")
    }
    try RowWeights.check(context)
  }

  /// Threads that learn, all of which the process then has.
  ///
  /// - Parameter wanted: 0: one for each processor.
  static func threads(_ wanted: Int) -> Int {
    let processors = max(1, min(sysconf(Int32(_SC_NPROCESSORS_ONLN)), 64))
    let threads = wanted == 0 ? processors : wanted
    EnginePool.start(threads: max(threads, processors))
    return threads
  }
}

/// Grows the trees of a forest on one table.
private struct Forest {
  /// Added to the mean of the trees; none for classes.
  let bias: [Float]
  private let context: FitContext<FeatureColumns>
  private let rules: GrowthRules
  private let weights: [Float]
  private let table: BinnedTable
  private let grower: TreeGrower
  private let gradients: AlignedBuffer<Float>
  private let hessians: AlignedBuffer<Float>
  private let words: AlignedBuffer<UInt64>
  private var random: RandomSource

  /// Codes of classes are whole numbers up to this, which rounding to 14 bits leaves as they are.
  private static let codeMax = 8191.0

  init(_ context: FitContext<FeatureColumns>, _ rules: GrowthRules, columns: [ColumnBins]) {
    self.context = context
    self.rules = rules
    let count = context.train.count
    weights = RowWeights.of(context.train, RowWeights.ofClasses(context))
    table = BinnedTable(context.train.inputs, bins: columns, sharesColumns: true, threads: rules.threads)
    grower = TreeGrower(table, rules)
    gradients = AlignedBuffer(count: count)
    hessians = AlignedBuffer(count: count)
    words = AlignedBuffer(count: count)
    random = RandomSource(seed: context.seed, purpose: "forest")
    var (sum, total) = (0.0, 0.0)
    for row in 0..<count {
      let weight = weights.isEmpty ? 1 : weights[row]
      hessians.start[row] = weight
      sum += Double(weight) * context.train.targets[row]
      total += Double(weight)
    }
    bias = context.task == .classification ? [] : [total > 0 ? Float(sum / total) : 0]
  }

  mutating func grow(_ treeCount: Int) throws(TrainingError) -> [GrownTree] {
    let count = context.train.count
    let draws = max(1, Int(((context.training["row_sample"].number ?? 1) * Double(count)).rounded()))
    let replaces = context.training["bootstrap"].flag ?? true
    let isUsed = [Bool](repeating: true, count: table.columns.count)
    var trees = try resumed(treeCount)
    for number in trees.indices { try report(number + 1, of: treeCount) }
    while trees.count < treeCount {
      let units = slopes()
      let job = nt_boost_round_job(
        gradients: gradients.start, hessians: hessians.start, rows: count, row_bits: table.rowBits,
        gradient_unit: units.gradient, hessian_unit: units.hessian, seed: random.next(), words: words.start)
      Boosting.run(job, parts: Boosting.chunks(count), threads: rules.threads, nt_boost_round_task)
      let drawn =
        replaces
        ? nt_boost_bootstrap(count, draws, random.next(), grower.rowList)
        : nt_boost_sample(count, Double(draws) / Double(count), random.next(), grower.rowList)
      let target = TreeGrower.Target(
        words: words.start, gradients: gradients.start, hessians: hessians.start, gradientUnit: units.gradient,
        hessianUnit: units.hessian, isUsed: isUsed, rowCount: drawn, scores: nil, renewed: nil,
        shares: bias.isEmpty ? (context.train.targets, weights, context.classCount) : nil)
      trees.append(grower.grow(target, &random))
      try report(trees.count, of: treeCount)
      try keep(trees, of: treeCount)
    }
    return trees
  }

  /// Reports the first tree, the last one, and each hundredth of them.
  private func report(_ number: Int, of treeCount: Int) throws(TrainingError) {
    guard number == 1 || number == treeCount || number % max(1, treeCount / 100) == 0 else { return }
    try context.progress(
      EpochReport(epoch: number, epochCount: treeCount, loss: .nan, metricName: "", bestEpoch: 0, stepName: "tree"))
  }

  // MARK: - checkpoints

  /// Numbers of a leaf.
  private var leafWidth: Int { max(context.classCount, 1) }

  /// Saves the trees where it is time to, and stops where the user asks for it.
  private func keep(_ trees: [GrownTree], of treeCount: Int) throws(TrainingError) {
    guard let checkpoints = context.checkpoints, checkpoints.isDue, trees.count < treeCount else { return }
    try checkpoints.save(state(trees))
    if checkpoints.isStopping { throw .interrupted("stopped after tree \(trees.count) of \(treeCount)") }
  }

  private func state(_ trees: [GrownTree]) -> [UInt8] {
    var writer = ByteWriter()
    for word in random.words { writer.add(word) }
    writer.add(UInt64(trees.count))
    for tree in trees { tree.write(&writer) }
    return writer.bytes
  }

  /// Goes on from the checkpoint, if there is one, and then grows the same trees, bit for bit.
  ///
  /// - Returns: the trees so far.
  /// - Throws: `TrainingError` where it holds the state of something else.
  private mutating func resumed(_ treeCount: Int) throws(TrainingError) -> [GrownTree] {
    guard let state = context.checkpoints?.resumed else { return [] }
    let other = TrainingError.fit("checkpoint: expected the state of a forest on these rows, found another")
    var reader = ByteReader(state[...])
    let words = (0..<4).compactMap { _ in reader.number() }
    guard words.count == 4, let count = reader.count(), (1..<treeCount).contains(count) else { throw other }
    var trees: [GrownTree] = []
    for _ in 0..<count {
      guard
        let tree = GrownTree(
          &reader, features: table.columns.count, leavesMax: rules.leavesMax, width: leafWidth)
      else { throw other }
      trees.append(tree)
    }
    guard reader.isAtEnd else { throw other }
    random = RandomSource(words: words)
    return trees
  }

  /// Writes the gradients of the next tree: of numbers their distance from the mean, of classes a code.
  ///
  /// - Returns: gradient and hessian of 1 after rounding.
  private mutating func slopes() -> (gradient: Double, hessian: Double) {
    let codes = codes()
    var (gradientMax, hessianMax) = (Float(0), Float(0))
    for (row, target) in context.train.targets.enumerated() {
      let gradient = hessians.start[row] * (bias.isEmpty ? codes[Int(target)] : Float(Double(bias[0]) - target))
      gradients.start[row] = gradient
      gradientMax = max(gradientMax, abs(gradient))
      hessianMax = max(hessianMax, hessians.start[row])
    }
    // Without weights codes are whole units, and a node of one class has nothing to gain.
    let unit = bias.isEmpty && weights.isEmpty ? 1 : Double(gradientMax) / nt_boost_gradient_max(table.rowBits)
    return (unit, Double(hessianMax) / nt_boost_hessian_max(table.rowBits))
  }

  /// A whole number for each class.
  private mutating func codes() -> [Float] {
    guard context.classCount > 2 else { return [Float(-Self.codeMax), Float(Self.codeMax)] }
    // Beyond four deviations, which one of 16,000 drawings is, codes are cut off.
    return (0..<context.classCount).map { _ in
      Float((min(max(random.normal(), -4), 4) / 4 * Self.codeMax).rounded())
    }
  }
}
