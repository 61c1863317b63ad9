internal import CNeedletailKernels
public import CNeedletailProto
internal import NeedletailCore
internal import NeedletailSystem

/// A sum of decision trees with linear leaves, in fp64 as LightGBM adds up its `linear_tree`.
///
/// y = (start + Σ of the trees' leaves) / divisor + bias, for each output, in the order of the trees. A leaf answers
/// constant + Σ coefficient · column, term after term; a row that lacks one of these columns gets the leaf's value in
/// ``trees``.
public struct LinearTrees: GraphOperation {
  /// Splits, and the values of leaves for rows with gaps.
  public var trees: TreeEnsemble
  /// One for each leaf, in the order of the leaves in ``trees``.
  public var constants: [Double]
  /// Number of terms of each leaf.
  public var termCounts: [UInt32]
  /// Column and coefficient of each term, leaf after leaf.
  public var termColumns: [UInt32]
  public var coefficients: [Double]

  public init(
    trees: TreeEnsemble, constants: [Double], termCounts: [UInt32], termColumns: [UInt32], coefficients: [Double]
  ) {
    self.trees = trees
    self.constants = constants
    self.termCounts = termCounts
    self.termColumns = termColumns
    self.coefficients = coefficients
  }

  // MARK: message

  public init(_ message: Needletail__V1__LinearTrees) throws(GraphFault) {
    guard let trees = message.trees else {
      throw GraphFault(kind: .mismatch, "trees: expected a message TreeEnsemble, found none")
    }
    self.init(
      trees: try TreeEnsemble(trees.pointee),
      constants: MessageValues.array(message.constant, message.n_constant),
      termCounts: MessageValues.array(message.terms, message.n_terms),
      termColumns: MessageValues.array(message.column, message.n_column),
      coefficients: MessageValues.array(message.coefficient, message.n_coefficient))
  }

  public func message(in memory: MessageBuilder) -> UnsafeMutablePointer<Needletail__V1__LinearTrees>? {
    memory.build(needletail__v1__linear_trees__init) {
      $0.trees = trees.message(in: memory)
      ($0.n_constant, $0.constant) = (constants.count, memory.array(constants))
      ($0.n_terms, $0.terms) = (termCounts.count, memory.array(termCounts))
      ($0.n_column, $0.column) = (termColumns.count, memory.array(termColumns))
      ($0.n_coefficient, $0.coefficient) = (coefficients.count, memory.array(coefficients))
    }
  }

  // MARK: checks

  public func infer(_ context: OperationContext) throws(GraphFault) -> [ValueType] {
    let input = try context.columns(of: .float64)
    let types = try trees.infer(context)
    guard trees.sums == .float64, trees.leafWidth == 1 else {
      throw context.fault(
        "expected sums in float64 and leaves of one value, found \(trees.sums) and \(trees.leafWidth) values")
    }
    let leafCount = trees.leaves.count
    guard constants.count == leafCount, termCounts.count == leafCount else {
      throw context.fault(
        "expected a constant and a number of terms for each of \(leafCount) leaves, found \(constants.count) and "
          + "\(termCounts.count)")
    }
    // At most 2²² leaves of less than 2³² terms each: the sum fits.
    let terms = termCounts.reduce(0) { $0 + Int($1) }
    guard terms <= Limits.treeNodesMax else {
      throw context.fault("expected at most \(Limits.treeNodesMax) terms of leaves, found \(terms)", .tooMany)
    }
    guard termColumns.count == terms, coefficients.count == terms else {
      throw context.fault(
        "expected a column and a coefficient for each of \(terms) terms, found \(termColumns.count) and "
          + "\(coefficients.count)")
    }
    if let term = termColumns.firstIndex(where: { $0 >= input.columns }) {
      throw context.fault(
        "term \(term): expected a column from 0 to \(input.columns - 1), found \(termColumns[term])")
    }
    for (name, numbers) in [("constant", constants), ("coefficient", coefficients)] {
      guard let index = numbers.firstIndex(where: { !$0.isFinite }) else { continue }
      throw context.fault("\(name) \(index): expected a finite number, found \(numbers[index])")
    }
    return types
  }

  // MARK: plan

  public func lower(_ node: Int, into plan: inout PlanBuilder) throws(PlanError) {
    guard let shape = try? TreeShape(trees.nodes) else { preconditionFailure("checked trees are whole") }
    let (input, output) = (plan.graph.nodes[node].inputs[0], plan.graph.nodes[node].outputs[0])
    let name = plan.graph.nodes[node].name
    let outputs = plan.graph.values[output].columns
    var kernel = nt_linear_trees()
    let before = plan.storage.bytes
    kernel.nodes = try plan.storage.copy(nodes(shape, sets: plan.storage.copy(trees.setBits, for: name)), for: name)
    var leaves: [nt_linear_leaf] = []
    leaves.reserveCapacity(constants.count)
    var terms: UInt32 = 0
    for (leaf, count) in termCounts.enumerated() {
      leaves.append(
        nt_linear_leaf(
          constant: constants[leaf], value: trees.leaves[leaf], term_first: terms, term_end: terms + count))
      terms += count
    }
    kernel.leaves = try plan.storage.copy(leaves, for: name)
    kernel.terms = try plan.storage.copy(
      zip(coefficients, termColumns).map { nt_linear_term(coefficient: $0, column: $1) }, for: name)

    // Trees in the order of their outputs, so that a sum is finished before the next begins.
    var byOutput = [[Int32]](repeating: [], count: outputs)
    for (index, tree) in shape.trees.enumerated() {
      let root = tree.splits == 0 ? ~Int32(tree.firstLeaf) : Int32(tree.firstSplit)
      byOutput[trees.treeOutputs.isEmpty ? 0 : Int(trees.treeOutputs[index])].append(root)
    }
    var first: [UInt32] = [0]
    for roots in byOutput { first.append(first[first.count - 1] + UInt32(roots.count)) }
    kernel.roots = try plan.storage.copy(Array(byOutput.joined()), for: name)
    kernel.output_first = try plan.storage.copy(first, for: name)
    if !trees.start.isEmpty { kernel.start = try plan.storage.copy(trees.start, for: name) }
    if !trees.bias.isEmpty { kernel.bias = try plan.storage.copy(trees.bias, for: name) }
    kernel.divisor = trees.divisor
    kernel.columns = UInt32(plan.graph.values[input].columns)
    kernel.outputs = UInt32(outputs)
    kernel.is_below = trees.comparison == .below
    kernel.flushes_tiny = trees.flushesTiny
    var step = try plan.step(
      node, nt_linear_trees_step, kernel, reading: [input], writing: [output], words: words, kernel: "linear trees")
    step.weightBytes = plan.storage.bytes - before
    plan.add(step)
  }

  /// Splits with children among those of all trees.
  private func nodes(_ shape: TreeShape, sets: UnsafePointer<UInt32>) -> [nt_linear_node] {
    var firstWords: [Int] = []
    firstWords.reserveCapacity(trees.setWords.count)
    var words = 0
    for count in trees.setWords {
      firstWords.append(words)
      words += Int(count)
    }
    var nodes: [nt_linear_node] = []
    nodes.reserveCapacity(shape.columns.count)
    Pieces.forEach(shape.trees.count, size: 64) { range in
      for tree in shape.trees[range] {
        func absolute(_ child: Int32) -> Int32 {
          child >= 0 ? Int32(tree.firstSplit) + child : ~(Int32(tree.firstLeaf) + ~child)
        }
        for split in tree.firstSplit..<tree.firstSplit + tree.splits {
          var node = nt_linear_node()
          node.threshold = trees.thresholds[split]
          if !trees.sets.isEmpty, trees.sets[split] > 0 {
            let set = Int(trees.sets[split]) - 1
            (node.set, node.set_count) = (sets + firstWords[set], 32 * trees.setWords[set])
          }
          node.column = shape.columns[split]
          (node.left, node.right) = (absolute(shape.left[split]), absolute(shape.right[split]))
          node.missing = (trees.missing.isEmpty ? .left : trees.missing[split]).rawValue
          nodes.append(node)
        }
      }
    }
    return nodes
  }

  // MARK: cost and words

  public var parameterCount: Int { trees.parameterCount + constants.count + coefficients.count }

  public func packedBytes(_ context: OperationContext) -> Int {
    guard let shape = try? TreeShape(trees.nodes) else { return 0 }
    // Each of nine blocks is rounded up to the kernels' alignment.
    return shape.columns.count * MemoryLayout<nt_linear_node>.stride
      + shape.leafCount * MemoryLayout<nt_linear_leaf>.stride
      + coefficients.count * MemoryLayout<nt_linear_term>.stride + 4 * (trees.setBits.count + shape.trees.count)
      + 4 * (context.outputs[0].columns + 1) + 8 * (trees.start.count + trees.bias.count) + 9 * MemoryPlanner.alignment
  }

  /// The same arrays before they are copied, and the trees as read.
  public func loweringBytes(_ context: OperationContext) -> Int {
    packedBytes(context) + trees.nodes.count * (3 * MemoryLayout<Int32>.stride + MemoryLayout<TreeShape.Tree>.stride)
      + context.outputs[0].columns * MemoryLayout<[Int32]>.stride
  }

  public var structure: LinearTrees {
    LinearTrees(trees: trees.structure, constants: [], termCounts: [], termColumns: [], coefficients: [])
  }

  public var words: String { "linear trees, \(trees.comparison == .below ? "<" : "≤")" }

  // MARK: reference

  public func reference(_ inputs: [[Double]], _ context: OperationContext) -> [[Double]] {
    guard let shape = try? TreeShape(trees.nodes) else { preconditionFailure("checked trees are whole") }
    let row = inputs[0]
    let outputs = context.outputs[0].columns
    var sums = trees.start.isEmpty ? [Double](repeating: 0, count: outputs) : trees.start
    for (index, tree) in shape.trees.enumerated() {
      let leaf = trees.leaf(of: row, tree, shape)
      let first = termCounts[..<leaf].reduce(0) { $0 + Int($1) }
      var answer = constants[leaf]
      for term in first..<first + Int(termCounts[leaf]) {
        let x = row[Int(termColumns[term])]
        if x.isNaN {
          answer = trees.leaves[leaf]
          break
        }
        answer += coefficients[term] * (trees.flushesTiny && abs(x) <= TreeEnsemble.tiny ? 0 : x)
      }
      sums[trees.treeOutputs.isEmpty ? 0 : Int(trees.treeOutputs[index])] += answer
    }
    return [
      sums.enumerated().map { output, sum in
        let mean = trees.divisor == 1 ? sum : sum / trees.divisor
        return Double(Float(trees.bias.isEmpty ? mean : mean + trees.bias[output]))
      }
    ]
  }
}
