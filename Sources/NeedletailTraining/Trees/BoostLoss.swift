internal import CNeedletailTraining
internal import Glibc
internal import NeedletailCore
internal import NeedletailEngine

/// What boosting minimises, and how the sum of the trees becomes an answer.
struct BoostLoss: Equatable {
  let kind: nt_boost_loss
  /// Scores a row.
  let outputs: Int
  /// Width of Huber's loss, share of the quantile, power of Tweedie's.
  var parameter = 0.0

  /// Names under `model.loss`; `auto` is the squared error for numbers and the cross-entropy for classes.
  static let names = ["auto", "squared", "absolute", "huber", "quantile", "poisson", "tweedie", "rank"]

  /// The share of a quantile that is the best constant; nil where that is a mean.
  var share: Double? {
    switch kind {
    case NT_BOOST_ABSOLUTE: 0.5
    case NT_BOOST_QUANTILE: parameter
    default: nil
    }
  }

  /// True where the answer is e to the power of the sum.
  var isExponential: Bool { kind == NT_BOOST_POISSON || kind == NT_BOOST_TWEEDIE }
  var isRanking: Bool { kind == NT_BOOST_RANK }
  var isOfClasses: Bool { kind == NT_BOOST_LOGISTIC || kind == NT_BOOST_SOFTMAX }

  /// Name of the figure beside the loss that reports have.
  var metricName: String { isRanking ? "NDCG" : isOfClasses ? "accuracy" : "R²" }

  static let ranking = BoostLoss(NT_BOOST_RANK)

  private init(_ kind: nt_boost_loss, outputs: Int = 1, parameter: Double = 0) {
    self.kind = kind
    self.outputs = outputs
    self.parameter = parameter
  }

  /// The loss that a run asks for.
  ///
  /// - Throws: `TrainingError` where the task, or a target, is none for it.
  init(_ context: FitContext<FeatureColumns>) throws(TrainingError) {
    let name = context.model["loss"].text ?? "auto"
    guard context.task == .regression || name == "auto" else {
      throw .fit("model.loss: expected auto for classes, found \(name)")
    }
    guard context.task == .regression else {
      let classes = context.classCount
      self = classes == 2 ? Self(NT_BOOST_LOGISTIC) : Self(NT_BOOST_SOFTMAX, outputs: classes)
      return
    }
    func number(_ key: String) -> Double { context.model[key].number ?? 0 }
    switch name {
    case "absolute": self = Self(NT_BOOST_ABSOLUTE)
    case "huber": self = Self(NT_BOOST_HUBER, parameter: number("huber_width"))
    case "quantile": self = Self(NT_BOOST_QUANTILE, parameter: number("quantile"))
    case "poisson": self = Self(NT_BOOST_POISSON)
    case "tweedie": self = Self(NT_BOOST_TWEEDIE, parameter: number("tweedie_power"))
    case "rank": self = Self(NT_BOOST_RANK)
    default: self = Self(NT_BOOST_SQUARED)
    }
    try check(context)
  }

  private func check(_ context: FitContext<FeatureColumns>) throws(TrainingError) {
    let name = context.model["loss"].text ?? "auto"
    for targets in [context.train.targets, context.validation.targets] {
      if isExponential, let negative = targets.first(where: { $0 < 0 }) {
        throw .fit("model.loss: expected targets from 0 for \(name), found \(negative)")
      }
      let relevanceMax = Double(NT_BOOST_RELEVANCE_MAX)
      if isRanking, let wrong = targets.first(where: { !(0...relevanceMax).contains($0) || $0 != $0.rounded() }) {
        throw .fit("model.loss: expected targets that are whole numbers from 0 to 30 for rank, found \(wrong)")
      }
    }
    if isExponential, !context.train.targets.contains(where: { $0 > 0 }) {
      throw .fit("model.loss: expected a target above 0 for \(name), found only zeros")
    }
    if isRanking, context.train.groups.isEmpty {
      throw .fit("model.loss: expected target.group for rank, the column of what is ranked together; found none")
    }
  }

  // MARK: - start

  /// Best constant score of each output: the mean or quantile, log-odds, or logarithms.
  ///
  /// - Parameter weights: one a row; none: 1 for all.
  func bias(_ targets: [Double], _ weights: [Float]) -> [Float] {
    func weight(_ row: Int) -> Double { weights.isEmpty ? 1 : Double(weights[row]) }
    if isRanking { return [0] }
    if let share {
      var residuals = targets.indices.map {
        nt_boost_residual(value: Float(targets[$0]), weight: Float(weight($0)))
      }
      return [nt_boost_quantile(&residuals, residuals.count, share)]
    }
    if isOfClasses {
      var sums = [Double](repeating: 0, count: max(outputs, 2))
      for (row, target) in targets.enumerated() { sums[Int(target)] += weight(row) }
      let sum = sums.reduce(0, +)
      return kind == NT_BOOST_LOGISTIC ? [Float(log(sums[1] / sums[0]))] : sums.map { Float(log($0 / sum)) }
    }
    var (sum, total) = (0.0, 0.0)
    for (row, target) in targets.enumerated() {
      sum += target * weight(row)
      total += weight(row)
    }
    return [Float(isExponential ? log(sum / total) : sum / total)]
  }
}

/// Scores of some rows, the targets beside them, and their bins where trees are walked for them.
final class ScoredRows {
  let loss: BoostLoss
  let targets: [Double]
  let weights: [Float]
  let scores: AlignedBuffer<Float>
  let table: BinnedTable?
  private let bias: [Float]
  private let figures: AlignedBuffer<nt_boost_figures>
  private let groups: RankedGroups?

  /// - Parameters:
  ///   - places: of a ranking, those that count.
  init(
    targets: [Double], groups: [Int], _ loss: BoostLoss, weights: [Float], bias: [Float], places: Int,
    table: BinnedTable? = nil
  ) {
    self.loss = loss
    self.table = table
    self.bias = bias
    self.weights = weights
    self.targets = targets
    scores = AlignedBuffer(count: targets.count * loss.outputs)
    let ranked = loss.isRanking ? RankedGroups(groups, places: places) : nil
    self.groups = ranked
    figures = AlignedBuffer(count: max(Boosting.chunks(targets.count), ranked?.count ?? 0))
  }

  func withRows(_ body: (nt_boost_rows) -> Void) {
    targets.withUnsafeBufferPointer { targets in
      bias.withUnsafeBufferPointer { bias in
        weights.withUnsafeBufferPointer { weights in
          body(
            nt_boost_rows(
              loss: loss.kind, rows: targets.count, outputs: loss.outputs, scores: scores.start,
              bias: bias.baseAddress, targets: targets.baseAddress,
              weights: weights.isEmpty ? nil : weights.baseAddress, parameter: loss.parameter))
        }
      }
    }
  }

  /// Writes gradients and hessians of all outputs, and their maxima by chunk.
  func slopes(
    _ gradients: AlignedBuffer<Float>, _ hessians: AlignedBuffer<Float>, _ maxima: AlignedBuffer<Float>, threads: Int
  ) {
    withRows { rows in
      let job = nt_boost_gradient_job(
        rows: rows, gradients: gradients.start, hessians: hessians.start, maxima: maxima.start)
      let chunks = Boosting.chunks(rows.rows)
      guard let groups else {
        Boosting.run(job, parts: chunks, threads: threads, nt_boost_gradient_task)
        return
      }
      let ranking = nt_boost_rank_job(
        rows: rows, groups: groups.groups, gradients: gradients.start, hessians: hessians.start, figures: nil)
      Boosting.run(ranking, parts: groups.partCount, threads: threads, nt_boost_rank_task)
      Boosting.run(job, parts: chunks, threads: threads, nt_boost_maxima_task)
    }
  }

  /// Mean loss, and the figure beside it: accuracy, R² or NDCG.
  func judge(threads: Int) -> (loss: Double, metric: Double) {
    let parts = groups?.count ?? Boosting.chunks(targets.count)
    withRows { rows in
      if let groups {
        let job = nt_boost_rank_job(
          rows: rows, groups: groups.groups, gradients: nil, hessians: nil, figures: figures.start)
        Boosting.run(job, parts: groups.partCount, threads: threads, nt_boost_ranking_loss_task)
      } else {
        let job = nt_boost_loss_job(rows: rows, figures: figures.start)
        Boosting.run(job, parts: parts, threads: threads, nt_boost_loss_task)
      }
    }
    var sum = nt_boost_figures()
    for part in 0..<parts {
      sum.loss += figures.start[part].loss
      sum.quality += figures.start[part].quality
      sum.weight += figures.start[part].weight
    }
    // Groups without a relevant row have no weight.
    let weight = max(sum.weight, .leastNormalMagnitude)
    if loss.isRanking { return (sum.loss / weight, sum.quality / weight) }
    let count = Double(targets.count)
    guard !loss.isOfClasses else { return (sum.loss / weight, sum.quality / count) }
    let mean = targets.reduce(0, +) / count
    let spread = targets.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
    return (sum.loss / weight, spread > 0 ? 1 - sum.quality / spread : 0)
  }
}

/// Rows by the group that they are ranked in.
private final class RankedGroups {
  let count: Int
  /// Parts of the jobs over groups: few enough for the pool, and many enough for its threads.
  let partCount: Int
  /// Points into the buffers below: valid as long as this.
  let groups: nt_boost_groups_of_rows
  private let rows: AlignedBuffer<UInt32>
  private let starts: AlignedBuffer<UInt32>
  private let order: AlignedBuffer<UInt32>
  private let gains: AlignedBuffer<Float>

  init(_ groupOfRow: [Int], places: Int) {
    let sorted = groupOfRow.indices.sorted { (groupOfRow[$0], $0) < (groupOfRow[$1], $1) }
    rows = AlignedBuffer(count: sorted.count)
    starts = AlignedBuffer(count: sorted.count + 1)
    order = AlignedBuffer(count: sorted.count)
    gains = AlignedBuffer(count: sorted.count)
    var count = 0
    for (place, row) in sorted.enumerated() {
      rows.start[place] = UInt32(row)
      if place == 0 || groupOfRow[row] != groupOfRow[sorted[place - 1]] {
        starts.start[count] = UInt32(place)
        count += 1
      }
    }
    starts.start[count] = UInt32(sorted.count)
    self.count = count
    let perPart = 1 + count / 4096
    partCount = (count + perPart - 1) / perPart
    groups = nt_boost_groups_of_rows(
      count: count, per_part: perPart, rows: rows.start, starts: starts.start, places: places, order: order.start,
      gains: gains.start)
  }
}
