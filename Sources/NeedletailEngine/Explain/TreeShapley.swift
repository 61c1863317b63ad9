internal import NeedletailCore

/// Shapley values of the sums of an ensemble, exact, along the paths of its trees.
///
/// The game is that of Lundberg et al. (2018, algorithm 2), which XGBoost's `pred_contribs` and LightGBM's `pred_contrib`
/// play: a column outside of the coalition goes both ways at its splits, weighed by the training rows that went there. In
/// it, a leaf of value v is worth v ∏ oᵢ to a coalition, over the coalition's columns, times ∏ zᵢ over all others: oᵢ is
/// 1 where the row passes all splits by column i on the leaf's path, and zᵢ is the share of the training rows that did.
/// By Owen (1972) the Shapley value of column i is then the integral
///
///     v (oᵢ − zᵢ) ∫₀¹ ∏ⱼ (zⱼ (1 − t) + oⱼ t) dt, over all j ≠ i,
///
/// of a polynomial whose degree is below the number D of columns on the path, so that Gauss's rule with D/2 points is
/// exact. All leaves below a split share its integrals, as in Linear TreeSHAP (Yu et al., 2022): a tree of L leaves takes
/// O(L · D) in place of the O(L · D²) of the first algorithm. Every factor lies between 0 and 1, so nothing cancels.
final class TreeShapley: Sendable {
  /// A split with both edges to its children.
  fileprivate struct Split {
    var player: Int32
    /// From 0: a split of the tree. Below: leaf ~child.
    var children: (Int32, Int32)
    /// Edge of the tree, 2 · split + side, that the same column decided last on the way here; −1: none.
    var previous: Int32
    /// Product of the shares of the rows that the splits by this column send along the path, up to each child.
    var shares: (Double, Double)
  }

  private let ensemble: TreeEnsemble
  private let shape: TreeShape
  private let splits: [Split]
  /// Index into ``rules`` for each tree.
  private let ruleOfTree: [Int]
  private let rules: [GaussRule]
  private let firstWords: [Int]
  private let columns: Int
  let outputs: Int
  let players: Int
  /// What the sums are on average over the training rows, one for each output.
  let baseValues: [Double]
  /// Largest magnitude that each sum can have: what rounding is measured by.
  let magnitudes: [Double]
  /// What a served sum may differ by from that in fp64, as part of the magnitude: a rounding for each tree, and that of
  /// the answer.
  var servedTolerance: Double {
    Double(Float.ulpOfOne) * (ensemble.sums == .float32 ? Double(shape.trees.count + 2) : 2)
  }

  /// Rows that are explained together, one bit each.
  static let blockRows = 64
  /// A share below it counts as 0: products of shares of one column may otherwise become so small that a quotient of two
  /// of them is none.
  private static let shareMin = 1e-200

  /// - Parameters:
  ///   - ensemble: checked, with covers.
  ///   - playerOfColumn: number that the values of a column are added to.
  init(_ ensemble: TreeEnsemble, outputs: Int, playerOfColumn: [Int], players: Int) {
    guard let shape = try? TreeShape(ensemble.nodes) else { preconditionFailure("a checked ensemble has whole trees") }
    self.ensemble = ensemble
    self.shape = shape
    self.outputs = outputs
    self.players = players
    columns = playerOfColumn.count
    firstWords = ensemble.firstWords
    var splits: [Split] = []
    splits.reserveCapacity(shape.columns.count)
    var rules: [GaussRule] = []
    var ruleOfTree: [Int] = []
    var base = ensemble.start.isEmpty ? [Double](repeating: 0, count: outputs) : ensemble.start
    var magnitudes = base.map { abs($0) }
    for (index, tree) in shape.trees.enumerated() {
      let paths = TreePaths(tree, shape, ensemble.covers)
      let points = max(1, (paths.columnsMax + 1) / 2)
      let known = rules.firstIndex { $0.points == points }
      if known == nil { rules.append(GaussRule(points: points)) }
      ruleOfTree.append(known ?? rules.count - 1)
      for split in 0..<tree.splits {
        let column = Int(shape.columns[tree.firstSplit + split])
        splits.append(
          Split(
            player: Int32(playerOfColumn[column]),
            children: (shape.left[tree.firstSplit + split], shape.right[tree.firstSplit + split]),
            previous: paths.previous[split],
            shares: (Self.kept(paths.shares[2 * split]), Self.kept(paths.shares[2 * split + 1]))))
      }
      let first = ensemble.treeOutputs.isEmpty ? 0 : Int(ensemble.treeOutputs[index])
      for place in 0..<ensemble.leafWidth {
        var largest = 0.0
        for leaf in 0..<tree.leaves {
          let value = ensemble.leaves[(tree.firstLeaf + leaf) * ensemble.leafWidth + place]
          base[first + place] += paths.leafShares[leaf] * value
          largest = max(largest, abs(value))
        }
        magnitudes[first + place] += largest
      }
    }
    self.splits = splits
    self.rules = rules
    self.ruleOfTree = ruleOfTree
    baseValues = base.indices.map { base[$0] / ensemble.divisor + (ensemble.bias.isEmpty ? 0 : ensemble.bias[$0]) }
    self.magnitudes = magnitudes.indices.map {
      magnitudes[$0] / ensemble.divisor + (ensemble.bias.isEmpty ? 0 : abs(ensemble.bias[$0]))
    }
  }

  private static func kept(_ share: Double) -> Double { share < shareMin ? 0 : share }

  /// Memory of one thread that explains.
  struct Scratch: ~Copyable {
    fileprivate let isLeft: UnsafeMutablePointer<UInt64>
    fileprivate let taken: UnsafeMutablePointer<Bool>
    fileprivate let products: UnsafeMutablePointer<SIMD4<Double>>
    fileprivate let subtotals: UnsafeMutablePointer<SIMD4<Double>>
    fileprivate let frames: UnsafeMutablePointer<Walk.Frame>

    init(for trees: TreeShapley) {
      let splitsMax = trees.shape.trees.map(\.splits).max() ?? 0
      let levels = trees.shape.depthMax + 1
      let vectors = trees.rules.map(\.vectors).max() ?? 1
      isLeft = .allocate(capacity: splitsMax + 1)
      taken = .allocate(capacity: 2 * splitsMax + 1)
      products = .allocate(capacity: levels * vectors)
      subtotals = .allocate(capacity: levels * vectors * trees.ensemble.leafWidth)
      frames = .allocate(capacity: levels)
    }

    deinit {
      isLeft.deallocate()
      taken.deallocate()
      products.deallocate()
      subtotals.deallocate()
      frames.deallocate()
    }
  }

  /// Explains some rows.
  ///
  /// - Parameters:
  ///   - rows: row-major, at most ``blockRows``.
  ///   - values: rows × outputs × players; written.
  ///   - sums: rows × outputs; written: the sums themselves in fp64.
  func explain(
    _ rows: UnsafePointer<Double>, count: Int, values: UnsafeMutablePointer<Double>,
    sums: UnsafeMutablePointer<Double>, _ scratch: borrowing Scratch
  ) {
    precondition(count <= Self.blockRows, "a row is one bit of a word")
    values.update(repeating: 0, count: count * outputs * players)
    for row in 0..<count {
      for output in 0..<outputs {
        sums[row * outputs + output] = ensemble.start.isEmpty ? 0 : ensemble.start[output]
      }
    }
    splits.withUnsafeBufferPointer { splits in
      ensemble.leaves.withUnsafeBufferPointer { leaves in
        for (index, tree) in shape.trees.enumerated() {
          decide(tree, rows, count: count, scratch.isLeft)
          let output = ensemble.treeOutputs.isEmpty ? 0 : Int(ensemble.treeOutputs[index])
          rules[ruleOfTree[index]].withPoints { t, rest, weights, vectors in
            var walk = Walk(
              splits: splits.baseAddress.map { $0 + tree.firstSplit },
              leaves: leaves.baseAddress.map { $0 + tree.firstLeaf * ensemble.leafWidth }, width: ensemble.leafWidth,
              players: players, t: t, rest: rest, weights: weights, vectors: vectors, isLeft: scratch.isLeft,
              taken: scratch.taken, products: scratch.products, subtotals: scratch.subtotals,
              frames: scratch.frames, row: 0, values: values, sums: sums)
            for vector in 0..<vectors { scratch.products[vector] = SIMD4(repeating: 1) }
            for row in 0..<count {
              walk.row = UInt64(row)
              walk.values = values + (row * outputs + output) * players
              walk.sums = sums + row * outputs + output
              walk.run(root: tree.splits == 0 ? ~0 : 0)
            }
          }
        }
      }
    }
    for index in 0..<(count * outputs * players) { values[index] /= ensemble.divisor }
    for row in 0..<count {
      for output in 0..<outputs {
        sums[row * outputs + output] /= ensemble.divisor
        if !ensemble.bias.isEmpty { sums[row * outputs + output] += ensemble.bias[output] }
      }
    }
  }

  /// The way of each row at each split: bit r of a split's word is set where row r goes left.
  private func decide(
    _ tree: TreeShape.Tree, _ rows: UnsafePointer<Double>, count: Int, _ isLeft: UnsafeMutablePointer<UInt64>
  ) {
    for split in 0..<tree.splits {
      let column = Int(shape.columns[tree.firstSplit + split])
      var word: UInt64 = 0
      for row in 0..<count
      where ensemble.goesLeft(rows[row * columns + column], tree.firstSplit + split, firstWords: firstWords) {
        word |= 1 << UInt64(row)
      }
      isLeft[split] = word
    }
  }

  /// The way of one row through all of one tree.
  fileprivate struct Walk {
    let splits: UnsafePointer<Split>?
    let leaves: UnsafePointer<Double>?
    let width: Int
    let players: Int
    let t: UnsafePointer<SIMD4<Double>>
    let rest: UnsafePointer<SIMD4<Double>>
    let weights: UnsafePointer<SIMD4<Double>>
    let vectors: Int
    let isLeft: UnsafePointer<UInt64>
    /// One for each edge: whether the row passes all splits by the edge's column up to there.
    let taken: UnsafeMutablePointer<Bool>
    /// ∏ⱼ (zⱼ (1 − t) + oⱼ t) at each point, by level.
    let products: UnsafeMutablePointer<SIMD4<Double>>
    /// The sum of v times the product over the leaves below a node, by level and place of the leaf.
    let subtotals: UnsafeMutablePointer<SIMD4<Double>>
    let frames: UnsafeMutablePointer<Frame>
    var row: UInt64
    var values: UnsafeMutablePointer<Double>
    var sums: UnsafeMutablePointer<Double>

    /// A node on the way, and how far its children are.
    fileprivate struct Frame {
      var node: Int32
      /// Side to go to next.
      var side: UInt8 = 0
      /// The row itself comes to the node.
      var isReached: Bool
    }

    /// Edge of a split to one of its children.
    private struct Edge {
      let player: Int
      let child: Int32
      let previous: Int
      let share: Double
      let passes: Double
      let isOfRow: Bool
    }

    /// Walks with a stack of its own, so that no depth of foreign trees exhausts the thread's.
    func run(root: Int32) {
      var level = 0
      frames[0] = Frame(node: root, isReached: true)
      clear(level)
      while true {
        let frame = frames[level]
        if frame.node < 0 {
          arrive(frame, level)
        } else if frame.side < 2 {
          frames[level].side += 1
          if descend(frame, level) { level += 1 }
          continue
        }
        guard level > 0 else { return }
        level -= 1
        ascend(frames[level], level)
      }
    }

    private func clear(_ level: Int) {
      let total = subtotals + level * vectors * width
      for index in 0..<(vectors * width) { total[index] = .zero }
    }

    private func arrive(_ frame: Frame, _ level: Int) {
      guard let leaf = leaves.map({ $0 + Int(~frame.node) * width }) else { return }
      let product = products + level * vectors
      let total = subtotals + level * vectors * width
      for place in 0..<width {
        if frame.isReached { sums[place] += leaf[place] }
        for vector in 0..<vectors { total[place * vectors + vector] = product[vector] * leaf[place] }
      }
    }

    @inline(__always)
    private func edge(_ node: Int32, side: Int, _ splits: UnsafePointer<Split>) -> Edge {
      let split = splits[Int(node)]
      let goesHere = (isLeft[Int(node)] >> row & 1 == 1) == (side == 0)
      let isTaken = goesHere && (split.previous < 0 || taken[Int(split.previous)])
      return Edge(
        player: Int(split.player), child: side == 0 ? split.children.0 : split.children.1,
        previous: Int(split.previous), share: side == 0 ? split.shares.0 : split.shares.1, passes: isTaken ? 1 : 0,
        isOfRow: goesHere)
    }

    /// Goes to the next child.
    ///
    /// - Returns: false where no coalition is worth anything below it.
    private func descend(_ frame: Frame, _ level: Int) -> Bool {
      guard let splits else { return false }
      let edge = edge(frame.node, side: Int(frame.side), splits)
      taken[2 * Int(frame.node) + Int(frame.side)] = edge.passes > 0
      guard edge.share > 0 || edge.passes > 0 else { return false }
      let product = products + level * vectors
      if edge.previous < 0 {
        for vector in 0..<vectors {
          product[vectors + vector] = product[vector] * (edge.share * rest[vector] + edge.passes * t[vector])
        }
      } else {
        let before = before(edge.previous, splits)
        for vector in 0..<vectors {
          product[vectors + vector] =
            product[vector] * (edge.share * rest[vector] + edge.passes * t[vector])
            / (before.share * rest[vector] + before.passes * t[vector])
        }
      }
      frames[level + 1] = Frame(node: edge.child, isReached: frame.isReached && edge.isOfRow)
      if edge.child >= 0 { clear(level + 1) }
      return true
    }

    /// Adds what the leaves below the last child say.
    private func ascend(_ frame: Frame, _ level: Int) {
      guard let splits else { return }
      let edge = edge(frame.node, side: Int(frame.side) - 1, splits)
      let total = subtotals + level * vectors * width
      let below = total + vectors * width
      let before = edge.previous < 0 ? nil : self.before(edge.previous, splits)
      for place in 0..<width {
        var own = SIMD4<Double>.zero
        var earlier = SIMD4<Double>.zero
        for vector in 0..<vectors {
          let sum = below[place * vectors + vector]
          total[place * vectors + vector] += sum
          own += weights[vector] * sum / (edge.share * rest[vector] + edge.passes * t[vector])
          if let before {
            earlier += weights[vector] * sum / (before.share * rest[vector] + before.passes * t[vector])
          }
        }
        var value = (edge.passes - edge.share) * own.sum()
        // The edge above took these leaves for its own; here they get the column's last word.
        if let before { value -= (before.passes - before.share) * earlier.sum() }
        values[place * players + edge.player] += value
      }
    }

    private func before(_ edge: Int, _ splits: UnsafePointer<Split>) -> (share: Double, passes: Double) {
      let split = splits[edge / 2]
      return (edge % 2 == 0 ? split.shares.0 : split.shares.1, taken[edge] ? 1 : 0)
    }
  }
}
