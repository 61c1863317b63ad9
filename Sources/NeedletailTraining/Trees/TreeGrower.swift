internal import CNeedletailTraining
internal import NeedletailCore

/// A tree on bins, as it was grown.
struct GrownTree {
  /// What a split on bins stands for, and its gain for the report.
  struct Record: Equatable {
    var feature: Int
    var gain: Double
    /// Last bin that goes left; of numbers only.
    var bin: Int
    var missingGoesLeft: Bool
  }

  /// Splits on bins of features, which stand for columns of their own. Children from 0 are splits; below, leaf ~child.
  var steps: [nt_boost_step] = []
  /// One for each step.
  var records: [Record] = []
  /// One for each leaf, learning rate included; or the shares of all classes.
  var values: [Float] = []
  /// Rows of each leaf that the tree learned from.
  var counts: [Int] = []
}

/// How trees grow.
struct GrowthRules {
  var leavesMax = 31
  /// Splits from the root to a leaf.
  var depthMax = Limits.treeDepthMax
  /// True: level by level; false: the leaf with the best split first.
  var isByLevel = false
  /// True: whichever leaf was made last first, so that only the leaves beside one path keep histograms.
  var isDepthFirst = false
  var rowsMin = 20
  var weightMin = 1e-3
  var gainMin = 0.0
  var l1 = 0.0
  var l2 = 1.0
  var learningRate = 0.1
  var categorySmoothing = 10.0
  var categoryL2 = 10.0
  var categoriesMax = 32
  /// Share of the columns that a node may ask about, of those of its tree.
  var nodeColumnShare = 1.0
  /// Sets of features that may stand above each other, each ascending; none: all may.
  var interactions: [[Int]] = []
  var threads = 1
}

/// Grows trees on one table. Histograms and row lists are kept from tree to tree.
final class TreeGrower {
  private let table: BinnedTable
  private let rules: GrowthRules
  private let rows: AlignedBuffer<UInt32>
  private let left: AlignedBuffer<UInt32>
  private let right: AlignedBuffer<UInt32>
  private let leftCounts: AlignedBuffer<Int>
  private let splits: AlignedBuffer<nt_boost_split>
  private let goesLeft: AlignedBuffer<UInt8>
  /// Features that a node may ask about: first those of the built one, then those of its sibling.
  private let isUsed: AlignedBuffer<UInt8>
  /// For losses of distances.
  private let residuals: AlignedBuffer<nt_boost_residual>
  /// Where trees grow depth first, the leaves that may be split, the next one last.
  private var open: [Int] = []
  private var freeHistograms: [AlignedBuffer<nt_boost_sums>] = []

  /// A leaf that may still be split.
  private struct OpenLeaf {
    var first: Int
    var count: Int
    var depth = 0
    var totals = nt_boost_sums()
    var valueMin = -Double.infinity
    var valueMax = Double.infinity
    /// Sums of its rows by bin; nil where it will not be split.
    var histogram: AlignedBuffer<nt_boost_sums>?
    var best = nt_boost_split()
    var feature = 0
    /// Sets of interactions that hold all features asked about above it.
    var sets: [Int] = []
    /// The step whose child it is; −1 for the root.
    var parent = -1
    var isRight = false
  }

  /// What a tree is grown for.
  struct Target {
    /// One rounded word a row.
    var words: UnsafePointer<UInt64>
    var gradients: UnsafePointer<Float>
    var hessians: UnsafePointer<Float>
    var gradientUnit: Double
    var hessianUnit: Double
    /// Features that may be asked about.
    var isUsed: [Bool]
    /// Rows that it learns from, ascending.
    var rowCount: Int
    /// Scores that leaves add to; nil leaves them as they are.
    var scores: UnsafeMutablePointer<Float>?
    /// Rows of a loss whose leaves hold the quantile of residuals at a share.
    var renewed: (rows: ScoredRows, share: Double)?
    /// Targets of classes whose shares leaves hold instead of a value, with weights or none.
    var shares: (targets: [Double], weights: [Float], classes: Int)?
  }

  init(_ table: BinnedTable, _ rules: GrowthRules, isRenewing: Bool = false) {
    self.table = table
    self.rules = rules
    rows = AlignedBuffer(count: table.rowCount)
    left = AlignedBuffer(count: table.rowCount)
    right = AlignedBuffer(count: table.rowCount)
    leftCounts = AlignedBuffer(count: Boosting.chunks(table.rowCount))
    splits = AlignedBuffer(count: 2 * table.columns.count)
    goesLeft = AlignedBuffer(count: Int(NT_BOOST_BINS_MAX))
    isUsed = AlignedBuffer(count: 2 * table.columns.count)
    residuals = AlignedBuffer(count: isRenewing ? table.rowCount : 0)
  }

  /// Place for the rows that the next tree learns from.
  var rowList: UnsafeMutablePointer<UInt32> { rows.start }

  /// Grows a tree on the first `target.rowCount` entries of ``rowList``.
  ///
  /// - Parameter random: chooses columns for nodes.
  func grow(_ target: Target, _ random: inout RandomSource) -> GrownTree {
    var tree = GrownTree()
    var leaves = [OpenLeaf(first: 0, count: target.rowCount)]
    leaves[0].sets = Array(rules.interactions.indices)
    leaves[0].totals = nt_boost_total(target.words, table.rowBits, rows.start, target.rowCount)
    if rules.leavesMax > 1, canSplit(leaves[0]), !table.columns.isEmpty {
      leaves[0].histogram = histogram()
      search(target, built: &leaves[0], sibling: nil, &random)
    }
    open = [0]
    while leaves.count < rules.leavesMax, let index = next(leaves) {
      split(index, &leaves, &tree, target, &random)
    }
    for leaf in leaves { release(leaf.histogram) }
    finish(leaves, &tree, target)
    return tree
  }

  /// The leaf to split next; nil where no split gains anything.
  private func next(_ leaves: [OpenLeaf]) -> Int? {
    if rules.isDepthFirst {
      while let last = open.last, leaves[last].histogram == nil || leaves[last].best.gain <= 0 { open.removeLast() }
      return open.popLast()
    }
    var found: Int?
    for (index, leaf) in leaves.enumerated() where leaf.histogram != nil && leaf.best.gain > 0 {
      guard let best = found.map({ leaves[$0] }) else {
        found = index
        continue
      }
      let isEarlier = rules.isByLevel && leaf.depth < best.depth
      let isLater = rules.isByLevel && leaf.depth > best.depth
      if isEarlier || (!isLater && leaf.best.gain > best.best.gain) { found = index }
    }
    return found
  }

  private func canSplit(_ leaf: OpenLeaf) -> Bool {
    leaf.depth < rules.depthMax && leaf.count >= 2 * max(rules.rowsMin, 1)
  }

  // MARK: - one split

  private func split(
    _ index: Int, _ leaves: inout [OpenLeaf], _ tree: inout GrownTree, _ target: Target, _ random: inout RandomSource
  ) {
    let parent = leaves[index]
    let best = parent.best
    let step = tree.steps.count
    let feature = Int(parent.feature)
    tree.steps.append(
      nt_boost_step(
        column: UInt32(feature), left: ~Int32(index), right: ~Int32(leaves.count), members: best.members))
    tree.records.append(
      .init(
        feature: feature, gain: best.gain, bin: Int(best.bin), missingGoesLeft: best.missing_goes_left))
    if parent.parent >= 0 {
      if parent.isRight {
        tree.steps[parent.parent].right = Int32(step)
      } else {
        tree.steps[parent.parent].left = Int32(step)
      }
    }
    let leftCount = partition(parent, table.onBytes(tree.steps[step]).members, feature)
    var left = OpenLeaf(first: parent.first, count: leftCount, depth: parent.depth + 1)
    var right = OpenLeaf(
      first: parent.first + leftCount, count: parent.count - leftCount, depth: parent.depth + 1)
    left.totals = best.left
    right.totals.gradient = parent.totals.gradient - best.left.gradient
    right.totals.weight = parent.totals.weight - best.left.weight
    (left.parent, right.parent, right.isRight) = (step, step, true)
    left.sets = parent.sets.filter { rules.interactions[$0].contains(feature) }
    right.sets = left.sets
    bound(&left, &right, parent, feature, target)

    let isLast = leaves.count + 1 >= rules.leavesMax
    if isLast || !(canSplit(left) || canSplit(right)) {
      release(parent.histogram)
    } else if left.count <= right.count {
      (left.histogram, right.histogram) = (histogram(), parent.histogram)
      search(target, built: &left, sibling: &right, &random)
    } else {
      (right.histogram, left.histogram) = (histogram(), parent.histogram)
      search(target, built: &right, sibling: &left, &random)
    }
    leaves[index] = left
    leaves.append(right)
    if rules.isDepthFirst { open += [index, leaves.count - 1] }
  }

  /// Gives children of a split by a feature with a direction bounds half way between their values, so that what grows
  /// below them keeps the direction.
  private func bound(
    _ left: inout OpenLeaf, _ right: inout OpenLeaf, _ parent: OpenLeaf, _ feature: Int, _ target: Target
  ) {
    for side in [\OpenLeaf.valueMin, \OpenLeaf.valueMax] {
      left[keyPath: side] = parent[keyPath: side]
      right[keyPath: side] = parent[keyPath: side]
    }
    let direction = table.table.feature[feature].direction
    guard direction != 0 else { return }
    func value(_ leaf: OpenLeaf) -> Double {
      let value = nt_boost_leaf_value(
        Double(leaf.totals.gradient) * target.gradientUnit,
        Double(leaf.totals.weight >> 26) * target.hessianUnit, rules.l1, rules.l2)
      return min(max(value, leaf.valueMin), leaf.valueMax)
    }
    let middle = value(left) / 2 + value(right) / 2
    if direction > 0 {
      (left.valueMax, right.valueMin) = (middle, middle)
    } else {
      (left.valueMin, right.valueMax) = (middle, middle)
    }
  }

  /// Puts the rows that go left before those that go right.
  ///
  /// - Returns: number of the former.
  private func partition(
    _ leaf: OpenLeaf, _ members: (UInt64, UInt64, UInt64, UInt64), _ feature: Int
  ) -> Int {
    let words = [members.0, members.1, members.2, members.3]
    for bin in 0..<Int(NT_BOOST_BINS_MAX) { goesLeft.start[bin] = UInt8(words[bin >> 6] >> UInt64(bin & 63) & 1) }
    let job = nt_boost_partition_job(
      bins: table.bytes(of: feature), goes_left: goesLeft.start,
      rows: rows.start + leaf.first, row_count: leaf.count, left: left.start, right: right.start,
      left_counts: leftCounts.start)
    let chunks = Boosting.chunks(leaf.count)
    Boosting.run(job, parts: chunks, threads: rules.threads, nt_boost_partition_task)
    Boosting.run(job, parts: chunks, threads: rules.threads, nt_boost_gather_task)
    return (0..<chunks).reduce(0) { $0 + leftCounts.start[$1] }
  }

  /// Says which features a leaf may ask about: of its tree's those that may stand below its path, and of these a share.
  private func choose(
    _ isUsed: UnsafeMutablePointer<UInt8>, for leaf: OpenLeaf, _ target: Target, _ random: inout RandomSource
  ) {
    var features = target.isUsed.indices.filter { target.isUsed[$0] }
    if !rules.interactions.isEmpty {
      let allowed = Set(leaf.sets.flatMap { rules.interactions[$0] })
      features.removeAll { !allowed.contains($0) }
    }
    if rules.nodeColumnShare < 1 {
      random.shuffle(&features)
      features = Array(features.prefix(max(1, Int((rules.nodeColumnShare * Double(features.count)).rounded()))))
    }
    for feature in target.isUsed.indices { isUsed[feature] = 0 }
    for feature in features { isUsed[feature] = 1 }
  }

  /// Finds the best split of a leaf, and of its sibling, whose histogram is that of both before.
  private func search(
    _ target: Target, built: inout OpenLeaf, sibling: UnsafeMutablePointer<OpenLeaf>?, _ random: inout RandomSource
  ) {
    func node(_ leaf: OpenLeaf, isSibling: Bool = false) -> nt_boost_node {
      let own = isUsed.start + (isSibling ? table.columns.count : 0)
      choose(own, for: leaf, target, &random)
      return nt_boost_node(
        histogram: leaf.histogram?.start, totals: leaf.totals, value_min: leaf.valueMin, value_max: leaf.valueMax,
        is_used: own, is_searched: canSplit(leaf))
    }
    let job = nt_boost_search_job(
      table: nil, words: target.words, row_bits: table.rowBits, rows: rows.start + built.first, row_count: built.count,
      built: node(built),
      sibling: sibling.map { node($0.pointee, isSibling: true) } ?? nt_boost_node(),
      rules: nt_boost_rules(
        gradient_unit: target.gradientUnit, hessian_unit: target.hessianUnit, l1: rules.l1, l2: rules.l2,
        gain_min: rules.gainMin, rows_min: UInt32(rules.rowsMin), weight_min: rules.weightMin,
        category_smoothing: rules.categorySmoothing, category_l2: rules.categoryL2,
        categories_max: UInt32(rules.categoriesMax)),
      splits: splits.start)
    withUnsafePointer(to: table.table) { table in
      var job = job
      job.table = table
      Boosting.run(job, parts: nt_boost_groups(table), threads: rules.threads, nt_boost_search_task)
    }
    take(&built, from: 0)
    if let sibling { take(&sibling.pointee, from: table.columns.count) }
  }

  /// Keeps the best of the features' splits, the first of equal ones; a leaf without any needs no histogram.
  private func take(_ leaf: inout OpenLeaf, from first: Int) {
    leaf.feature = 0
    leaf.best = splits.start[first]
    for feature in 1..<max(table.columns.count, 1) where splits.start[first + feature].gain > leaf.best.gain {
      leaf.feature = feature
      leaf.best = splits.start[first + feature]
    }
    if leaf.best.gain <= 0 {
      release(leaf.histogram)
      leaf.histogram = nil
    }
  }

  // MARK: - leaves and memory

  private func finish(_ leaves: [OpenLeaf], _ tree: inout GrownTree, _ target: Target) {
    var ranges = leaves.map {
      nt_boost_leaf(
        first: $0.first, count: $0.count, value_min: $0.valueMin, value_max: $0.valueMax, value: 0)
    }
    func fill(_ renewed: UnsafePointer<nt_boost_rows>?) {
      ranges.withUnsafeMutableBufferPointer { ranges in
        let job = nt_boost_leaf_job(
          leaves: ranges.baseAddress, rows: rows.start, gradients: target.gradients, hessians: target.hessians,
          l1: rules.l1, l2: rules.l2, learning_rate: rules.learningRate, scores: target.scores, renewed: renewed,
          share: target.renewed?.share ?? 0, residuals: residuals.start)
        Boosting.run(job, parts: ranges.count, threads: rules.threads, nt_boost_leaf_task)
      }
    }
    if let renewed = target.renewed {
      renewed.rows.withRows { rows in withUnsafePointer(to: rows) { fill($0) } }
    } else {
      fill(nil)
    }
    tree.values = ranges.map(\.value)
    if let shares = target.shares { tree.values = self.shares(shares.targets, shares.weights, shares.classes, ranges) }
    tree.counts = ranges.map(\.count)
  }

  private func shares(_ targets: [Double], _ weights: [Float], _ classes: Int, _ leaves: [nt_boost_leaf]) -> [Float] {
    var found = [Float](repeating: 0, count: leaves.count * classes)
    found.withUnsafeMutableBufferPointer { found in
      targets.withUnsafeBufferPointer { targets in
        weights.withUnsafeBufferPointer { weights in
          leaves.withUnsafeBufferPointer { leaves in
            let job = nt_boost_share_job(
              leaves: leaves.baseAddress, rows: rows.start, targets: targets.baseAddress,
              weights: weights.isEmpty ? nil : weights.baseAddress, classes: classes, shares: found.baseAddress)
            for leaf in leaves.indices { withUnsafePointer(to: job) { nt_boost_share_task($0, leaf) } }
          }
        }
      }
    }
    return found
  }

  private func histogram() -> AlignedBuffer<nt_boost_sums> {
    freeHistograms.popLast() ?? AlignedBuffer(count: table.binCount)
  }

  private func release(_ histogram: AlignedBuffer<nt_boost_sums>?) {
    if let histogram { freeHistograms.append(histogram) }
  }
}
