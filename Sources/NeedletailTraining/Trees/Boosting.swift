internal import CNeedletailTraining
internal import Glibc
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

  private let context: FitContext<FeatureColumns>
  private let settings: Settings
  private let loss: nt_boost_loss
  private let outputs: Int
  private let classWeights: [Float]
  private let table: BinnedTable
  private let grower: TreeGrower
  private let bias: [Float]
  private let training: ScoredRows
  private let validation: ScoredRows?
  private let gradients: AlignedBuffer<Float>
  private let hessians: AlignedBuffer<Float>
  private let maxima: AlignedBuffer<Float>
  private let words: AlignedBuffer<UInt64>
  private let isUsed: AlignedBuffer<UInt8>
  private var random: RandomSource

  /// Settings beside those of a single tree.
  struct Settings {
    var rules = GrowthRules()
    var treesMax = 500
    var rowShare = 1.0
    var columnShare = 1.0
    /// Trees without a better validation loss before it stops; 0: never.
    var patience = 50
  }

  /// - Parameters:
  ///   - columns: bins of the training rows.
  ///   - classWeights: one for each class; none: 1 for all.
  ///   - directions: as ``BinnedTable`` takes them.
  init(
    _ context: FitContext<FeatureColumns>, _ settings: Settings, columns: [ColumnBins], classWeights: [Float] = [],
    directions: [Int] = []
  ) {
    self.context = context
    self.settings = settings
    self.classWeights = classWeights
    let threads = settings.rules.threads
    switch (context.task, context.classCount) {
    case (.regression, _): (loss, outputs) = (NT_BOOST_SQUARED, 1)
    case (.classification, 2): (loss, outputs) = (NT_BOOST_LOGISTIC, 1)
    case (.classification, let classes): (loss, outputs) = (NT_BOOST_SOFTMAX, classes)
    }
    let rowCount = context.train.count
    table = BinnedTable(context.train.inputs, bins: columns, directions: directions, threads: threads)
    grower = TreeGrower(table, settings.rules)
    bias = Self.bias(loss, context.train.targets, classCount: context.classCount, classWeights)
    training = ScoredRows(targets: context.train.targets, outputs: outputs)
    validation =
      context.validation.count == 0
      ? nil
      : ScoredRows(
        targets: context.validation.targets, outputs: outputs,
        table: BinnedTable(context.validation.inputs, bins: columns, threads: threads))
    gradients = AlignedBuffer(count: rowCount * outputs)
    hessians = AlignedBuffer(count: rowCount * outputs)
    maxima = AlignedBuffer(count: Self.chunks(rowCount) * outputs * 2)
    words = AlignedBuffer(count: rowCount)
    isUsed = AlignedBuffer(count: columns.count)
    random = RandomSource(seed: context.seed, purpose: "trees")
  }

  /// Scores of some rows, the targets beside them, and their bins where trees are walked for them.
  private final class ScoredRows {
    let targets: [Double]
    let scores: AlignedBuffer<Float>
    let figures: AlignedBuffer<nt_boost_figures>
    let table: BinnedTable?

    init(targets: [Double], outputs: Int, table: BinnedTable? = nil) {
      self.targets = targets
      self.table = table
      scores = AlignedBuffer(count: targets.count * outputs)
      figures = AlignedBuffer(count: Boosting.chunks(targets.count))
    }
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

  // MARK: - start

  /// Best constant score of each output: the mean, log-odds, or logarithms of the shares of classes.
  private static func bias(
    _ loss: nt_boost_loss, _ targets: [Double], classCount: Int, _ classWeights: [Float]
  ) -> [Float] {
    guard loss != NT_BOOST_SQUARED else { return [Float(targets.reduce(0, +) / Double(targets.count))] }
    var weights = [Double](repeating: 0, count: classCount)
    for target in targets { weights[Int(target)] += classWeights.isEmpty ? 1 : Double(classWeights[Int(target)]) }
    let sum = weights.reduce(0, +)
    guard loss == NT_BOOST_LOGISTIC else { return weights.map { Float(log($0 / sum)) } }
    return [Float(log(weights[1] / weights[0]))]
  }

  // MARK: - the loop

  /// Grows the trees, and drops those behind the best round by the validation loss where early stopping is on.
  ///
  /// - Throws: `TrainingError` where the loss is not finite.
  mutating func run() throws(TrainingError) -> Outcome {
    var trees: [GrownTree] = []
    var best = (loss: Double.infinity, count: 0, metric: nil as Double?)
    let reportEvery = max(1, settings.treesMax / 100)
    var note = ""
    for iteration in 1...settings.treesMax {
      let grown = grow(iteration)
      guard grown.contains(where: { !$0.steps.isEmpty }) || iteration == 1 else {
        note = "no split gains anything after \(iteration - 1) rounds"
        break
      }
      trees += grown
      let validation = self.validation.map { judge($0) }
      if let validation {
        guard validation.loss.isFinite else { throw diverged("the validation loss", validation.loss, iteration) }
        if validation.loss < best.loss { best = (validation.loss, iteration, validation.metric) }
      }
      let stops = settings.patience > 0 && validation != nil && iteration - best.count >= settings.patience
      if iteration % reportEvery == 0 || iteration == 1 || stops || iteration == settings.treesMax {
        let trainingLoss = judge(training).loss
        guard trainingLoss.isFinite else { throw diverged("the loss", trainingLoss, iteration) }
        context.progress(
          EpochReport(
            epoch: iteration, epochCount: settings.treesMax, loss: trainingLoss, validationLoss: validation?.loss,
            validationMetric: validation?.metric, metricName: loss == NT_BOOST_SQUARED ? "R²" : "accuracy",
            bestEpoch: best.count, bestMetric: best.metric))
      }
      if stops {
        note = "stopped early after \(iteration) rounds"
        break
      }
    }
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
    withRows(training) { rows in
      let job = nt_boost_gradient_job(
        rows: rows, gradients: gradients.start, hessians: hessians.start, maxima: maxima.start)
      Self.run(job, parts: Self.chunks(rowCount), threads: threads, nt_boost_gradient_task)
    }
    let sampleSeed = random.next()
    return (0..<outputs).map { output in
      let units = units(of: output)
      let own = output * rowCount
      let job = nt_boost_round_job(
        gradients: gradients.start + own, hessians: hessians.start + own, rows: rowCount,
        gradient_unit: units.gradient, hessian_unit: units.hessian, seed: random.next(), words: words.start)
      Self.run(job, parts: Self.chunks(rowCount), threads: threads, nt_boost_round_task)
      chooseFeatures()
      let sampled = nt_boost_sample(rowCount, settings.rowShare, sampleSeed, grower.rowList)
      let scores = training.scores.start + own
      let tree = grower.grow(
        .init(
          words: words.start, gradients: gradients.start + own, hessians: hessians.start + own,
          gradientUnit: units.gradient, hessianUnit: units.hessian, isUsed: isUsed.start, rowCount: sampled,
          scores: sampled == rowCount ? scores : nil))
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
    return (Double(gradient) / Double(NT_BOOST_GRADIENT_MAX), Double(hessian) / Double(NT_BOOST_HESSIAN_MAX))
  }

  private mutating func chooseFeatures() {
    var order = Array(0..<table.columns.count)
    let count = max(1, Int((settings.columnShare * Double(order.count)).rounded()))
    if count < order.count { random.shuffle(&order) }
    for (place, feature) in order.enumerated() { isUsed.start[feature] = place < count ? 1 : 0 }
  }

  private func walk(_ tree: GrownTree, _ table: BinnedTable, _ scores: UnsafeMutablePointer<Float>) {
    withUnsafePointer(to: table.table) { cTable in
      tree.steps.withUnsafeBufferPointer { steps in
        tree.values.withUnsafeBufferPointer { values in
          let job = nt_boost_walk_job(
            table: cTable, steps: steps.baseAddress, step_count: steps.count, values: values.baseAddress,
            scores: scores)
          Self.run(job, parts: Self.chunks(table.rowCount), threads: settings.rules.threads, nt_boost_walk_task)
        }
      }
    }
  }

  // MARK: - judging

  /// Mean loss, and accuracy or R².
  private func judge(_ rows: ScoredRows) -> (loss: Double, metric: Double) {
    let count = rows.targets.count
    withRows(rows) { own in
      let job = nt_boost_loss_job(rows: own, figures: rows.figures.start)
      Self.run(job, parts: Self.chunks(count), threads: settings.rules.threads, nt_boost_loss_task)
    }
    var sum = nt_boost_figures()
    for chunk in 0..<Self.chunks(count) {
      sum.loss += rows.figures.start[chunk].loss
      sum.quality += rows.figures.start[chunk].quality
      sum.weight += rows.figures.start[chunk].weight
    }
    guard loss == NT_BOOST_SQUARED else { return (sum.loss / sum.weight, sum.quality / Double(count)) }
    let mean = rows.targets.reduce(0, +) / Double(count)
    let spread = rows.targets.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
    return (sum.loss / sum.weight, spread > 0 ? 1 - sum.quality / spread : 0)
  }

  private func withRows(_ rows: ScoredRows, _ body: (nt_boost_rows) -> Void) {
    rows.targets.withUnsafeBufferPointer { targets in
      bias.withUnsafeBufferPointer { bias in
        classWeights.withUnsafeBufferPointer { classWeights in
          body(
            nt_boost_rows(
              loss: loss, rows: targets.count, outputs: outputs, scores: rows.scores.start, bias: bias.baseAddress,
              targets: targets.baseAddress, class_weights: classWeights.isEmpty ? nil : classWeights.baseAddress))
        }
      }
    }
  }
}
