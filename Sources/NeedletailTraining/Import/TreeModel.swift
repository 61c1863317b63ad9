internal import NeedletailCore
public import NeedletailEngine

/// What is wrong with trees that were read from a foreign file: the tree and the node at fault, if there is one.
public struct TreeModelError: Error, Equatable, CustomStringConvertible {
  public let tree: Int?
  public let node: Int?
  /// Field, expected, found.
  public let message: String

  public init(tree: Int? = nil, node: Int? = nil, _ message: String) {
    self.tree = tree
    self.node = node
    self.message = message
  }

  public var description: String {
    let place = [tree.map { "tree \($0)" }, node.map { "node \($0)" }].compactMap { $0 }.joined(separator: ", ")
    return place.isEmpty ? message : "\(place): \(message)"
  }
}

/// Trees as libraries store them, with child indices, before they are known to be trees: what importers fill.
///
/// ``ensemble()`` makes the engine's operation of it, or says which node is wrong. Rows go left where x < threshold, or
/// x ≤ threshold, by `comparison`; members of a split's categories go left as well, so an importer whose source sends
/// them right exchanges the children and the direction of missing values.
public struct TreeModel: Equatable, Sendable {
  public struct Split: Equatable, Sendable {
    public enum Test: Equatable, Sendable {
      case threshold(Double)
      /// Codes whose rows go left, in any order.
      case categories([Int])
    }

    public var column: Int
    public var test: Test
    public var missing: TreeEnsemble.Missing
    /// Indices into the nodes of the tree.
    public var left: Int
    public var right: Int

    public init(column: Int, test: Test, missing: TreeEnsemble.Missing = .left, left: Int, right: Int) {
      self.column = column
      self.test = test
      self.missing = missing
      self.left = left
      self.right = right
    }
  }

  public enum Node: Equatable, Sendable {
    case split(Split)
    /// One value, or one for each output.
    case leaf([Double])
  }

  public struct Tree: Equatable, Sendable {
    public var nodes: [Node]
    public var root: Int
    /// The output that it adds to; 0 where leaves have a value for each.
    public var output: Int
    /// Weight of the training rows that reached each node, of which those of leaves are kept; none: it is not known.
    public var covers: [Double]

    public init(nodes: [Node], root: Int = 0, output: Int = 0, covers: [Double] = []) {
      self.nodes = nodes
      self.root = root
      self.output = output
      self.covers = covers
    }
  }

  public var comparison: TreeEnsemble.Comparison
  public var sums: TreeEnsemble.Sums
  public var flushesTiny = false
  /// Columns that a split may ask about.
  public var columns = Limits.columnsMax
  public var outputs: Int
  public var trees: [Tree]
  /// One for each output; none: zeros.
  public var start: [Double] = []
  public var bias: [Double] = []
  public var divisor = 1.0

  public init(comparison: TreeEnsemble.Comparison, sums: TreeEnsemble.Sums, outputs: Int, trees: [Tree]) {
    self.comparison = comparison
    self.sums = sums
    self.outputs = outputs
    self.trees = trees
  }

  /// The engine's operation: the same trees in preorder, equal sets of categories stored once.
  ///
  /// Time and memory are bounded by `Limits`, whatever the indices say.
  /// - Throws: the first node that is no part of a tree: an index out of range, a node that two splits share or that lies
  ///   below itself, leaves of different widths, thresholds and leaves that are no numbers, columns and categories out of
  ///   range.
  public func ensemble() throws(TreeModelError) -> TreeEnsemble {
    var writer = Writer(
      ensemble: TreeEnsemble(comparison: comparison, sums: sums, nodes: [], thresholds: [], leaves: []),
      columns: columns)
    guard (1...Limits.columnsMax).contains(outputs) else {
      throw TreeModelError("outputs: expected 1 to \(Limits.columnsMax), found \(outputs)")
    }
    guard trees.count <= Limits.treesMax else {
      throw TreeModelError("trees: expected at most \(Limits.treesMax), found \(trees.count)")
    }
    for (index, tree) in trees.enumerated() { try writer.add(tree, index) }
    var ensemble = writer.ensemble
    ensemble.leafWidth = writer.width ?? 1
    guard ensemble.leafWidth == 1 || ensemble.leafWidth == outputs else {
      throw TreeModelError("leaves: expected 1 value or \(outputs), found \(ensemble.leafWidth)")
    }
    if let tree = trees.firstIndex(where: { !(0...outputs - ensemble.leafWidth).contains($0.output) }) {
      throw TreeModelError(
        tree: tree, "output: expected 0 to \(outputs - ensemble.leafWidth), found \(trees[tree].output)")
    }
    if ensemble.leafWidth == 1, outputs > 1 { ensemble.treeOutputs = trees.map { UInt32($0.output) } }
    if ensemble.missing.allSatisfy({ $0 == .left }) { ensemble.missing = [] }
    if ensemble.setWords.isEmpty { ensemble.sets = [] }
    // Where one tree does not tell, the ensemble cannot be explained.
    if ensemble.covers.count * ensemble.leafWidth < ensemble.leaves.count { ensemble.covers = [] }
    ensemble.flushesTiny = flushesTiny
    (ensemble.start, ensemble.bias, ensemble.divisor) = (start, bias, divisor)
    return ensemble
  }

  /// Appends trees to an ensemble.
  private struct Writer {
    var ensemble: TreeEnsemble
    /// Values of a leaf, once there was one.
    var width: Int?
    private let columns: Int
    /// Numbers of sets by their codes, ascending and each once.
    private var knownSets: [[Int]: UInt32] = [:]

    init(ensemble: TreeEnsemble, columns: Int) {
      self.ensemble = ensemble
      self.columns = columns
    }

    /// Walks with a stack of its own, so that no depth of foreign trees exhausts the thread's.
    mutating func add(_ tree: Tree, _ index: Int) throws(TreeModelError) {
      guard tree.covers.isEmpty || tree.covers.count == tree.nodes.count else {
        throw TreeModelError(
          tree: index, "covers: expected 0 or \(tree.nodes.count), one for each node, found \(tree.covers.count)")
      }
      var isVisited = [Bool](repeating: false, count: tree.nodes.count)
      var open: [(node: Int, depth: Int, parent: Int?)] = [(tree.root, 0, nil)]
      while let (node, depth, parent) = open.popLast() {
        guard tree.nodes.indices.contains(node) else {
          let role = parent == nil ? "root" : "child"
          let range = tree.nodes.isEmpty ? "a node" : "0 to \(tree.nodes.count - 1)"
          throw TreeModelError(tree: index, node: parent, "\(role): expected \(range), found \(node)")
        }
        guard !isVisited[node] else {
          throw TreeModelError(tree: index, node: node, "expected one way from the root, found two or a cycle")
        }
        isVisited[node] = true
        guard depth <= Limits.treeDepthMax else {
          throw TreeModelError(
            tree: index, node: node, "expected at most \(Limits.treeDepthMax) splits above it, found \(depth)")
        }
        guard ensemble.nodes.count < Limits.treeNodesMax else {
          throw TreeModelError(
            tree: index, node: node, "expected at most \(Limits.treeNodesMax) splits and leaves in all, found more")
        }
        switch tree.nodes[node] {
        case .leaf(let values):
          guard values.count == width ?? values.count, !values.isEmpty else {
            throw TreeModelError(
              tree: index, node: node, "leaf: expected \(width ?? 1) values, found \(values.count)")
          }
          if let value = values.first(where: { !$0.isFinite }) {
            throw TreeModelError(tree: index, node: node, "leaf: expected a finite number, found \(value)")
          }
          width = values.count
          ensemble.nodes.append(0)
          ensemble.leaves += values
          if !tree.covers.isEmpty { try add(cover: tree.covers[node], TreeModelError(tree: index, node: node, "")) }
        case .split(let split):
          try add(split, TreeModelError(tree: index, node: node, ""))
          open.append((split.right, depth + 1, node))
          open.append((split.left, depth + 1, node))
        }
      }
    }

    private mutating func add(cover: Double, _ place: TreeModelError) throws(TreeModelError) {
      guard cover >= 0, Float(cover).isFinite else {
        throw TreeModelError(
          tree: place.tree, node: place.node, "cover: expected a finite number from 0, found \(cover)")
      }
      ensemble.covers.append(Float(cover))
    }

    private mutating func add(_ split: Split, _ place: TreeModelError) throws(TreeModelError) {
      guard (0..<columns).contains(split.column) else {
        throw TreeModelError(
          tree: place.tree, node: place.node, "column: expected 0 to \(columns - 1), found \(split.column)")
      }
      ensemble.nodes.append(UInt32(split.column + 1))
      ensemble.missing.append(split.missing)
      switch split.test {
      case .threshold(let threshold):
        guard !threshold.isNaN else {
          throw TreeModelError(tree: place.tree, node: place.node, "threshold: expected a number, found nan")
        }
        ensemble.thresholds.append(threshold)
        ensemble.sets.append(0)
      case .categories(let codes):
        ensemble.thresholds.append(0)
        ensemble.sets.append(try number(of: codes, place))
      }
    }

    /// The set of some categories, from 1.
    private mutating func number(of codes: [Int], _ place: TreeModelError) throws(TreeModelError) -> UInt32 {
      if let code = codes.first(where: { !(0..<Limits.categoriesMax).contains($0) }) {
        throw TreeModelError(
          tree: place.tree, node: place.node, "category: expected 0 to \(Limits.categoriesMax - 1), found \(code)")
      }
      // Looked up by the codes: words take 128 KiB for a code of 7 digits, and were hashed for each split.
      let isAscending = zip(codes, codes.dropFirst()).allSatisfy(<)
      let key = isAscending ? codes : Set(codes).sorted()
      if let known = knownSets[key] { return known }
      var words = [UInt32](repeating: 0, count: (key.last ?? 0) / 32 + 1)
      for code in key { words[code / 32] |= 1 << UInt32(code % 32) }
      // A file of 100 bytes a split could otherwise ask for 128 KiB each.
      guard ensemble.setBits.count + words.count <= Limits.treeNodesMax else {
        throw TreeModelError(
          tree: place.tree, node: place.node,
          "categories: expected at most \(Limits.treeNodesMax) words of 32 in all splits, found more")
      }
      ensemble.setWords.append(UInt32(words.count))
      ensemble.setBits += words
      let number = UInt32(ensemble.setWords.count)
      knownSets[key] = number
      return number
    }
  }
}
