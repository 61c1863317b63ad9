internal import CNeedletailTraining
internal import NeedletailCore
internal import NeedletailEngine

/// Gradient boosting (Friedman, 2001) with Newton steps: each tree fits the gradients of the loss at the sum of the
/// trees before it.
struct Boosting {
  /// What the trees add up to.
  struct Outcome {
    /// Trees in the order of their sums; tree t adds to output t % outputs.
    var trees: [GrownTree]
    /// Added to the sum of each output.
    var bias: [Float]
    var note: String
  }

  let context: FitContext<FeatureColumns>
  let settings: Settings
  let loss: BoostLoss
  let table: BinnedTable
  private let grower: TreeGrower
  private let bias: [Float]
  let training: ScoredRows
  let validation: ScoredRows?
  private let gradients: AlignedBuffer<Float>
  private let hessians: AlignedBuffer<Float>
  private let maxima: AlignedBuffer<Float>
  private let words: AlignedBuffer<UInt64>
  private var isUsed: [Bool]
  var random: RandomSource

  var outputs: Int { loss.outputs }

  /// Settings beside those of a single tree.
  struct Settings {
    var rules = GrowthRules()
    var treesMax = 500
    var rowShare = 1.0
    var columnShare = 1.0
    /// Trees without a better validation loss before it stops; 0: never.
    var patience = 50
    /// Places of a ranking that count.
    var places = 30
  }

  /// - Parameters:
  ///   - columns: bins of the training rows.
  ///   - classWeights: one for each class; none: 1 for all.
  ///   - directions: as ``BinnedTable`` takes them.
  init(
    _ context: FitContext<FeatureColumns>, _ settings: Settings, loss: BoostLoss, columns: [ColumnBins],
    classWeights: [Float] = [], directions: [Int] = []
  ) {
    self.context = context
    self.settings = settings
    self.loss = loss
    let threads = settings.rules.threads
    let rowCount = context.train.count
    table = BinnedTable(
      context.train.inputs, bins: columns, directions: directions, sharesColumns: true, threads: threads)
    let bias = loss.bias(context.train.targets, RowWeights.of(context.train, classWeights))
    self.bias = bias
    func rows(_ samples: Samples<FeatureColumns>, table: BinnedTable? = nil) -> ScoredRows {
      ScoredRows(
        targets: samples.targets, groups: samples.groups, loss, weights: RowWeights.of(samples, classWeights),
        bias: bias, places: settings.places, table: table)
    }
    training = rows(context.train)
    validation =
      context.validation.count == 0
      ? nil
      : rows(
        context.validation,
        table: BinnedTable(context.validation.inputs, bins: columns, sharesColumns: false, threads: threads))
    grower = TreeGrower(table, settings.rules, isRenewing: loss.share != nil)
    gradients = AlignedBuffer(count: rowCount * loss.outputs)
    hessians = AlignedBuffer(count: rowCount * loss.outputs)
    maxima = AlignedBuffer(count: Self.chunks(rowCount) * loss.outputs * 2)
    words = AlignedBuffer(count: rowCount)
    isUsed = [Bool](repeating: true, count: columns.count)
    random = RandomSource(seed: context.seed, purpose: "trees")
  }

  // MARK: - threads

  /// Parts of a job over rows.
  static func chunks(_ rows: Int) -> Int { (rows + Int(NT_BOOST_CHUNK_ROWS) - 1) / Int(NT_BOOST_CHUNK_ROWS) }

  /// Runs the parts of a job on the process's threads.
  static func run<Job>(
    _ job: Job, parts: Int, threads: Int, _ task: @convention(c) (UnsafeRawPointer?, Int) -> Void
  ) {
    withUnsafePointer(to: job) { nt_boost_run(task, $0, parts, threads) }
  }

  // MARK: - the loop

  /// Grows the trees, and drops those behind the best round by the validation loss where early stopping is on.
  ///
  /// - Throws: `TrainingError` where the loss is not finite.
  mutating func run() throws(TrainingError) -> Outcome {
    var progress = try resumed()
    let reportEvery = max(1, settings.treesMax / 100)
    var note = ""
    while progress.iteration < settings.treesMax {
      let iteration = progress.iteration + 1
      let grown = grow(iteration)
      guard grown.contains(where: { !$0.steps.isEmpty }) || iteration == 1 else {
        note = "no split gains anything after \(iteration - 1) rounds"
        break
      }
      progress.trees += grown
      progress.iteration = iteration
      let validation = self.validation?.judge(threads: settings.rules.threads)
      if let validation {
        guard validation.loss.isFinite else { throw diverged("the validation loss", validation.loss, iteration) }
        if validation.loss < progress.best.loss { progress.best = (validation.loss, iteration, validation.metric) }
      }
      let stops = settings.patience > 0 && validation != nil && iteration - progress.best.count >= settings.patience
      if iteration % reportEvery == 0 || iteration == 1 || stops || iteration == settings.treesMax {
        let trainingLoss = training.judge(threads: settings.rules.threads).loss
        guard trainingLoss.isFinite else { throw diverged("the loss", trainingLoss, iteration) }
        let report = EpochReport(
          epoch: iteration, epochCount: settings.treesMax, loss: trainingLoss, validationLoss: validation?.loss,
          validationMetric: validation?.metric, metricName: loss.metricName,
          bestEpoch: progress.best.count, bestMetric: progress.best.metric, stepName: "round")
        progress.reports.append(report)
        try context.progress(report)
      }
      if stops {
        note = "stopped early after \(iteration) rounds"
        break
      }
      try keep(progress)
    }
    let (trees, best) = (progress.trees, progress.best)
    let grownRounds = trees.count / outputs
    let rounds = best.count > 0 && settings.patience > 0 ? best.count : grownRounds
    if note.isEmpty { note = "\(grownRounds) rounds" }
    if rounds < grownRounds { note += ", best was \(rounds)" }
    return Outcome(trees: Array(trees.prefix(rounds * outputs)), bias: bias, note: note)
  }

  private func diverged(_ what: String, _ value: Double, _ iteration: Int) -> TrainingError {
    .fit(
      "round \(iteration): expected \(what) to be finite, found \(value); lower training.learning_rate "
        + "(now \(Figures.short(settings.rules.learningRate))) or raise training.l2")
  }

  /// Grows one tree for each output.
  private mutating func grow(_ iteration: Int) -> [GrownTree] {
    let rowCount = context.train.count
    let threads = settings.rules.threads
    training.slopes(gradients, hessians, maxima, threads: threads)
    let sampleSeed = random.next()
    return (0..<outputs).map { output in
      let units = units(of: output)
      let own = output * rowCount
      let job = nt_boost_round_job(
        gradients: gradients.start + own, hessians: hessians.start + own, rows: rowCount,
        row_bits: table.rowBits, gradient_unit: units.gradient, hessian_unit: units.hessian, seed: random.next(),
        words: words.start)
      Self.run(job, parts: Self.chunks(rowCount), threads: threads, nt_boost_round_task)
      chooseFeatures()
      let sampled = nt_boost_sample(rowCount, settings.rowShare, sampleSeed, grower.rowList)
      let scores = training.scores.start + own
      let tree = grower.grow(
        .init(
          words: words.start, gradients: gradients.start + own, hessians: hessians.start + own,
          gradientUnit: units.gradient, hessianUnit: units.hessian, isUsed: isUsed, rowCount: sampled,
          scores: sampled == rowCount ? scores : nil, renewed: loss.share.map { (training, $0) }),
        &random)
      // Rows that the tree did not learn from get its value too.
      if sampled < rowCount { walk(tree, table, scores) }
      if let validation, let table = validation.table {
        walk(tree, table, validation.scores.start + output * validation.targets.count)
      }
      return tree
    }
  }

  /// Gradient and hessian of 1 after rounding: the largest of all rows take all their bits.
  private func units(of output: Int) -> (gradient: Double, hessian: Double) {
    var (gradient, hessian): (Float, Float) = (0, 0)
    for chunk in 0..<Self.chunks(context.train.count) {
      gradient = max(gradient, maxima.start[2 * (chunk * outputs + output)])
      hessian = max(hessian, maxima.start[2 * (chunk * outputs + output) + 1])
    }
    return (
      Double(gradient) / nt_boost_gradient_max(table.rowBits), Double(hessian) / nt_boost_hessian_max(table.rowBits)
    )
  }

  private mutating func chooseFeatures() {
    var order = Array(0..<table.columns.count)
    let count = max(1, Int((settings.columnShare * Double(order.count)).rounded()))
    if count < order.count { random.shuffle(&order) }
    for (place, feature) in order.enumerated() { isUsed[feature] = place < count }
  }

  private func walk(_ tree: GrownTree, _ table: BinnedTable, _ scores: UnsafeMutablePointer<Float>) {
    withUnsafePointer(to: table.table) { cTable in
      tree.steps.map { table.onBytes($0) }.withUnsafeBufferPointer { steps in
        tree.values.withUnsafeBufferPointer { values in
          let job = nt_boost_walk_job(
            table: cTable, steps: steps.baseAddress, step_count: steps.count, values: values.baseAddress,
            scores: scores)
          Self.run(job, parts: Self.chunks(table.rowCount), threads: settings.rules.threads, nt_boost_walk_task)
        }
      }
    }
  }
}
