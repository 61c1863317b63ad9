internal import NeedletailCore

/// The trees of an ensemble, with child references in place of preorder.
struct TreeShape {
  struct Tree {
    /// Among the splits of all trees.
    var firstSplit: Int
    var splits = 0
    /// Among the leaves of all trees.
    var firstLeaf: Int
    var leaves = 0
    /// Splits from the root to the deepest leaf.
    var depth = 0
  }

  /// The fault of the trees, in one sentence.
  struct Fault: Error {
    var message: String
    var isTooMany = false
  }

  var trees: [Tree] = []
  /// Per split: its column, and its children within its tree. From 0: a split. Below: leaf ~child.
  var columns: [UInt32] = []
  var left: [Int32] = []
  var right: [Int32] = []
  var leafCount = 0
  var depthMax = 0
  var leavesMax = 0

  /// Reads preorder with a stack of its own, so that no depth of foreign trees exhausts the thread's.
  init(_ nodes: [UInt32]) throws(Fault) {
    guard nodes.count <= Limits.treeNodesMax else {
      throw Fault(
        message: "expected at most \(Limits.treeNodesMax) splits and leaves, found \(nodes.count)", isTooMany: true)
    }
    columns.reserveCapacity(nodes.count / 2)
    left.reserveCapacity(nodes.count / 2)
    right.reserveCapacity(nodes.count / 2)
    /// Splits whose left, or right, child is not known yet, each with its depth.
    var open: [(split: Int, depth: Int, hasLeft: Bool)] = []
    // The tree at hand stands apart until it is whole: counting within the array looked for its owners at every node.
    var tree = Tree(firstSplit: 0, firstLeaf: 0)
    for (index, node) in nodes.enumerated() {
      if open.isEmpty {
        guard trees.count < Limits.treesMax else {
          throw Fault(message: "node \(index): expected at most \(Limits.treesMax) trees, found more", isTooMany: true)
        }
        tree = Tree(firstSplit: columns.count, firstLeaf: leafCount)
      }
      let child = node == 0 ? ~Int32(tree.leaves) : Int32(tree.splits)
      var depth = 0
      if let parent = open.last {
        depth = parent.depth + 1
        if parent.hasLeft {
          right[parent.split] = child
          open.removeLast()
        } else {
          left[parent.split] = child
          open[open.count - 1].hasLeft = true
        }
      }
      if node == 0 {
        tree.leaves += 1
        tree.depth = max(tree.depth, depth)
        leafCount += 1
        if open.isEmpty { end(tree) }
      } else {
        guard depth < Limits.treeDepthMax else {
          throw Fault(
            message:
              "tree \(trees.count), node \(index): expected at most \(Limits.treeDepthMax) splits above a leaf, found more",
            isTooMany: true)
        }
        open.append((columns.count, depth, false))
        tree.splits += 1
        columns.append(node - 1)
        left.append(0)
        right.append(0)
      }
    }
    guard open.isEmpty else {
      let found = "found the end of the nodes after \(nodes.count)"
      throw Fault(message: "tree \(trees.count): expected two children for each split, \(found)")
    }
    guard !trees.isEmpty else { throw Fault(message: "expected a tree, found no nodes") }
  }

  private mutating func end(_ tree: Tree) {
    trees.append(tree)
    depthMax = max(depthMax, tree.depth)
    leavesMax = max(leavesMax, tree.leaves)
  }
}

extension TreeEnsemble {
  public func infer(_ context: OperationContext) throws(GraphFault) -> [ValueType] {
    let input = try context.columns(of: .float32, .float64)
    let outputs = context.outputs[0].columns
    let shape: TreeShape
    do throws(TreeShape.Fault) {
      shape = try TreeShape(nodes)
    } catch {
      throw context.fault(error.message, error.isTooMany ? .tooMany : .mismatch)
    }
    let splits = shape.columns.count
    guard thresholds.count == splits else {
      throw context.fault("expected a threshold for each of \(splits) splits, found \(thresholds.count)")
    }
    if let split = thresholds.firstIndex(where: \.isNaN) {
      throw context.fault("\(place(of: split, in: shape)): expected a number as threshold, found nan")
    }
    if let split = shape.columns.firstIndex(where: { $0 >= input.columns }) {
      throw context.fault(
        "\(place(of: split, in: shape)): expected a column from 0 to \(input.columns - 1), found \(shape.columns[split])"
      )
    }
    guard missing.isEmpty || missing.count == splits else {
      throw context.fault("expected 0 or \(splits) treatments of missing values, found \(missing.count)")
    }
    try checkSets(shape, context)
    try checkLeaves(shape, outputs, context)
    guard divisor.isFinite, divisor > 0, sums == .float64 || Double(Float(divisor)) == divisor else {
      throw context.fault("divisor: expected a finite number above 0 of type \(sums), found \(divisor)")
    }
    return [ValueType(.float32, [outputs], per: input.domain)]
  }

  private func checkSets(_ shape: TreeShape, _ context: OperationContext) throws(GraphFault) {
    let splits = shape.columns.count
    guard sets.isEmpty || sets.count == splits else {
      throw context.fault("expected 0 or \(splits) numbers of sets, found \(sets.count)")
    }
    var words = 0
    for (set, count) in setWords.enumerated() {
      guard count > 0, Int(count) <= setBits.count else {
        throw context.fault("set \(set + 1): expected 1 to \(setBits.count) words, found \(count)")
      }
      words += Int(count)
    }
    guard words == setBits.count else {
      throw context.fault("sets: expected \(words) words of categories, found \(setBits.count)")
    }
    for (split, set) in sets.enumerated() where set > 0 {
      guard Int(set) <= setWords.count else {
        throw context.fault(
          "\(place(of: split, in: shape)): expected a set from 1 to \(setWords.count), found \(set)")
      }
      guard thresholds[split] == 0 else {
        throw context.fault(
          "\(place(of: split, in: shape)): expected threshold 0 beside a set, found \(thresholds[split])")
      }
      guard missing.isEmpty || !missing[split].takesZeros else {
        throw context.fault(
          "\(place(of: split, in: shape)): expected no zeros taken for missing beside a set, found \(missing[split])")
      }
    }
  }

  private func checkLeaves(_ shape: TreeShape, _ outputs: Int, _ context: OperationContext) throws(GraphFault) {
    guard leafWidth == 1 || leafWidth == outputs else {
      throw context.fault("leaf width: expected 1 or \(outputs), found \(leafWidth)")
    }
    // At most 2²² leaves of at most 2²⁰ values: the product fits.
    guard leaves.count == shape.leafCount * leafWidth else {
      throw context.fault("expected \(shape.leafCount * leafWidth) values of leaves, found \(leaves.count)")
    }
    guard treeOutputs.isEmpty || treeOutputs.count == shape.trees.count else {
      throw context.fault("expected 0 or \(shape.trees.count) outputs of trees, found \(treeOutputs.count)")
    }
    let outputMax = outputs - leafWidth
    if let tree = treeOutputs.firstIndex(where: { $0 > outputMax }) {
      throw context.fault("tree \(tree): expected an output from 0 to \(outputMax), found \(treeOutputs[tree])")
    }
    for (name, numbers) in [("start", start), ("bias", bias)] where !(numbers.isEmpty || numbers.count == outputs) {
      throw context.fault("\(name): expected 0 or \(outputs) numbers, found \(numbers.count)")
    }
    for (name, numbers) in [("leaf value", leaves), ("start", start), ("bias", bias)] {
      guard let index = numbers.firstIndex(where: { !isExact($0) }) else { continue }
      throw context.fault("\(name) \(index): expected a finite number of type \(sums), found \(numbers[index])")
    }
    guard covers.isEmpty || covers.count == shape.leafCount else {
      throw context.fault("covers: expected 0 or \(shape.leafCount), one for each leaf, found \(covers.count)")
    }
    if let leaf = covers.firstIndex(where: { !($0.isFinite && $0 >= 0) }) {
      throw context.fault("cover of leaf \(leaf): expected a finite number from 0, found \(covers[leaf])")
    }
  }

  /// Whether a number is finite, and kept as it is by the type of the sums.
  private func isExact(_ number: Double) -> Bool {
    number.isFinite && (sums == .float64 || Double(Float(number)) == number)
  }

  private func place(of split: Int, in shape: TreeShape) -> String {
    // The last tree that begins at or before the split; empty ones begin with their successor.
    let tree = shape.trees.lastIndex { $0.firstSplit <= split && $0.splits > 0 } ?? 0
    return "tree \(tree), split \(split - shape.trees[tree].firstSplit)"
  }
}
