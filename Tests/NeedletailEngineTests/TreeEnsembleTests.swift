import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

/// Trees on every instruction set against the slow reference, and the reference against decisions by hand.
@Suite struct TreeEnsembleTests {
  fileprivate static func graph(
    _ trees: TreeEnsemble, columns: Int, outputs: Int, element: ValueType.Element
  ) -> ModelGraph {
    ModelGraph(
      task: .regression,
      values: [.init(name: "row", type: ValueType(element, [columns])), .init(name: "y", columns: outputs)],
      nodes: [Node(name: "trees", input: 0, output: 1, operation: trees)],
      outputs: [.init(name: "y", value: 1, kind: .number)], tensors: [])
  }

  private func answers(
    _ graph: ModelGraph, _ rows: [[Double]], isa: InstructionSet? = nil, batches: [Int]
  ) throws -> [Float] {
    var options = PlanOptions()
    options.isa = isa
    options.rowsMax = batches.max() ?? 1
    let plan = try Plan(graph, options: options)
    let workspace = plan.workspace()
    var found: [Float] = []
    var first = 0
    var batch = 0
    while first < rows.count {
      let chunk = rows[first..<min(rows.count, first + batches[batch % batches.count])]
      for (row, cells) in chunk.enumerated() {
        for (column, cell) in cells.enumerated() {
          let index = row * cells.count + column
          if plan.input.element == .float64 {
            workspace.input.storeBytes(of: cell, toByteOffset: 8 * index, as: Double.self)
          } else {
            workspace.input.storeBytes(of: Float(cell), toByteOffset: 4 * index, as: Float.self)
          }
        }
      }
      plan.run(workspace, rows: chunk.count)
      found += UnsafeBufferPointer(start: workspace.output(0), count: chunk.count * plan.outputs[0].columns)
      first += chunk.count
      batch += 1
    }
    return found
  }

  private func one(
    _ trees: TreeEnsemble, _ row: [Double], outputs: Int = 1, element: ValueType.Element = .float32
  ) throws -> [Float] {
    let graph = Self.graph(trees, columns: row.count, outputs: outputs, element: element)
    let found = try answers(graph, [row], batches: [1])
    #expect(bits(graph.reference(row)[1].map { Float($0) }) == bits(found))
    return found
  }

  private func stump(_ comparison: TreeEnsemble.Comparison, at threshold: Double) -> TreeEnsemble {
    TreeEnsemble(
      comparison: comparison, sums: .float64, nodes: [1, 0, 0], thresholds: [threshold], leaves: [-1, 1])
  }

  // MARK: - decisions by hand

  @Test func aSplitComparesInTheTypeOfItsSource() throws {
    let third = 1.0 / 3
    #expect(try one(stump(.below, at: 0.5), [0.5]) == [1])
    #expect(try one(stump(.atMost, at: 0.5), [0.5]) == [-1])
    // The fp32 third lies above the fp64 one: fp32 thresholds would send it left.
    #expect(Double(Float(third)) > third)
    #expect(try one(stump(.atMost, at: third), [Double(Float(third))]) == [1])
    #expect(try one(stump(.atMost, at: third), [third], element: .float64) == [-1])
    #expect(try one(stump(.below, at: third), [third.nextDown], element: .float64) == [-1])
    #expect(try one(stump(.below, at: 0), [-0.0]) == [1])
    #expect(try one(stump(.atMost, at: -0.0), [0]) == [-1])
    #expect(try one(stump(.below, at: Double(Float.leastNonzeroMagnitude)), [0]) == [-1])
    #expect(try one(stump(.below, at: .infinity), [.infinity]) == [1])
    #expect(try one(stump(.atMost, at: .infinity), [.infinity]) == [-1])
    #expect(try one(stump(.below, at: -.infinity), [-.infinity]) == [1])
    #expect(try one(stump(.atMost, at: -.infinity), [-.infinity]) == [-1])
  }

  @Test func missingValuesGoWhereTheSplitSends() throws {
    let expected: [(TreeEnsemble.Missing, nan: Float, zero: Float, tiny: Float)] = [
      (.left, -1, 1, 1), (.right, 1, 1, 1), (.asZero, 1, 1, 1), (.orZeroLeft, -1, -1, -1), (.orZeroRight, 1, 1, 1),
    ]
    for (missing, nan, zero, tiny) in expected {
      var trees = stump(.below, at: -0.5)
      trees.missing = [missing]
      #expect(try one(trees, [.nan]) == [nan], "\(missing)")
      #expect(try one(trees, [0]) == [zero], "\(missing)")
      #expect(try one(trees, [1e-36]) == [tiny], "\(missing)")
      #expect(try one(trees, [-1]) == [-1], "\(missing)")
    }
    var never = stump(.atMost, at: .infinity)
    never.missing = [.right]
    #expect(try one(never, [.infinity]) == [-1])
    #expect(try one(never, [.nan]) == [1])
  }

  @Test func tinyValuesCountAsZeroWhereTheSourceReadsThemSo() throws {
    var trees = stump(.atMost, at: 1e-36)
    #expect(try one(trees, [2e-36]) == [1])
    trees.flushesTiny = true
    #expect(try one(trees, [2e-36]) == [-1])
    #expect(try one(trees, [TreeEnsemble.tiny]) == [-1])
    #expect(try one(trees, [TreeEnsemble.tiny.nextUp], element: .float64) == [1])
  }

  @Test func membersOfASetGoLeft() throws {
    var trees = stump(.below, at: 0)
    (trees.sets, trees.setWords, trees.setBits) = ([1], [2], [1 << 3 | 1, 1 << 1])
    for (code, side) in [(0.0, -1), (1, 1), (3, -1), (33, -1), (34, 1), (64, 1), (-1, 1), (1e9, 1)] as [(Double, Float)]
    {
      #expect(try one(trees, [code]) == [side], "category \(code)")
    }
    // Truncated as a cast to an integer does.
    #expect(try one(trees, [3.99]) == [-1])
    #expect(try one(trees, [-0.5]) == [-1])
    #expect(try one(trees, [.infinity]) == [1])
    for (missing, side) in [(.left, -1), (.right, 1), (.asZero, -1)] as [(TreeEnsemble.Missing, Float)] {
      trees.missing = [missing]
      #expect(try one(trees, [.nan]) == [side])
    }
  }

  @Test func sumsRunInTheOrderOfTheTreesAndTheTypeOfTheSource() throws {
    // In fp32, 1 + 2⁻²⁴ rounds to 1, so the order decides; in fp64 nothing is lost until the answer.
    let leaves = [1, 0x1p-24, 0x1p-24]
    var trees = TreeEnsemble(comparison: .below, sums: .float32, nodes: [0, 0, 0], thresholds: [], leaves: leaves)
    #expect(try one(trees, [0]) == [1])
    trees.leaves.reverse()
    #expect(try one(trees, [0]) == [1 + 0x1p-23])
    trees = TreeEnsemble(comparison: .below, sums: .float64, nodes: [0, 0, 0], thresholds: [], leaves: leaves)
    #expect(try one(trees, [0]) == [1 + 0x1p-23])
    (trees.start, trees.divisor, trees.bias) = ([2], 4, [0.5])
    trees.leaves = [1, 2, 3]
    #expect(try one(trees, [0]) == [2.5])
  }

  @Test func leavesMayHoldOneValueForEachOutput() throws {
    var trees = TreeEnsemble(
      comparison: .below, sums: .float64, nodes: [1, 0, 0, 0], thresholds: [0], leaves: [1, 2, 3, 4, 10, 20])
    trees.leafWidth = 2
    #expect(try one(trees, [-1], outputs: 2) == [11, 22])
    #expect(try one(trees, [1], outputs: 2) == [13, 24])
    trees.leafWidth = 1
    trees.leaves = [1, 3, 10]
    trees.treeOutputs = [1, 0]
    #expect(try one(trees, [1], outputs: 3) == [10, 3, 0])
  }

  // MARK: - random ensembles

  @Test(arguments: 0..<24)
  func everyInstructionSetGivesTheBitsOfTheReference(seed: Int) throws {
    var fixture = TreeFixture(seed: UInt64(seed))
    let trees = fixture.ensemble()
    let rows = fixture.rows(for: trees, count: 150)
    let graph = fixture.graph(of: trees)
    let expected = rows.flatMap { graph.reference($0)[1].map { Float($0) } }
    for isa in InstructionSet.supported {
      let found = try answers(graph, rows, isa: isa, batches: [1, 3, 64, 70, 12])
      #expect(bits(found) == bits(expected), "\(fixture) on \(isa)")
    }
  }

  @Test func aColumnMayHaveMoreThresholdsThanABytesRanks() throws {
    var fixture = TreeFixture(seed: 7)
    (fixture.columns, fixture.depth, fixture.trees, fixture.isComplete) = (2, 6, 60, true)
    fixture.thresholdPool = (0..<1500).map { Double(Float($0) * 0.37 - 200) }
    let trees = fixture.ensemble()
    #expect(Set(trees.thresholds).count > 1000)
    let rows = fixture.rows(for: trees, count: 70)
    let graph = fixture.graph(of: trees)
    let expected = rows.flatMap { graph.reference($0)[1].map { Float($0) } }
    for isa in InstructionSet.supported {
      #expect(try bits(answers(graph, rows, isa: isa, batches: [64, 1])) == bits(expected), "\(isa)")
    }
  }

  @Test func manyColumnsMakeMoreBytesThanRegistersHold() throws {
    var fixture = TreeFixture(seed: 9)
    (fixture.columns, fixture.depth, fixture.trees, fixture.isComplete) = (700, 5, 100, true)
    let trees = fixture.ensemble()
    let rows = fixture.rows(for: trees, count: 66)
    let graph = fixture.graph(of: trees)
    let expected = rows.flatMap { graph.reference($0)[1].map { Float($0) } }
    for isa in InstructionSet.supported {
      #expect(try bits(answers(graph, rows, isa: isa, batches: [64, 1])) == bits(expected), "\(isa)")
    }
  }

  @Test func aTreeMayBeAsDeepAsItsLimit() throws {
    let depth = Limits.treeDepthMax
    // A chain to the right: leaf k holds k.
    let trees = TreeEnsemble(
      comparison: .below, sums: .float64, nodes: (0..<depth).flatMap { _ in [1, 0] as [UInt32] } + [0],
      thresholds: (0..<depth).map { Double($0) }, leaves: (0...depth).map { Double($0) })
    #expect(try one(trees, [Double(depth) / 2]) == [Float(depth / 2 + 1)])
    #expect(try one(trees, [1e6]) == [Float(depth)])
    var deeper = trees
    deeper.nodes = [1, 0] + trees.nodes
    deeper.thresholds.append(0)
    deeper.leaves.append(0)
    #expect(throws: (any Error).self) { try one(deeper, [0]) }
  }

  @Test func messagesKeepEveryField() throws {
    for seed in 0..<40 {
      var fixture = TreeFixture(seed: UInt64(seed))
      let trees = fixture.ensemble()
      let memory = MessageBuilder()
      let message = try #require(trees.message(in: memory))
      #expect(try TreeEnsemble(message.pointee) == trees)
    }
  }
}

/// A random ensemble whose thresholds are drawn from few, awkward numbers, so that inputs meet them exactly.
struct TreeFixture: CustomStringConvertible {
  var random: SplitMix64
  let seed: UInt64
  var columns: Int
  var outputs: Int
  var element: ValueType.Element
  var depth: Int
  var trees: Int
  var isComplete: Bool
  var thresholdPool: [Double]

  static let awkward: [Double] = [
    0, -0.0, 1, -1, 0.5, 1.0 / 3, 2.0 / 3, 1e-36, -1e-36, TreeEnsemble.tiny, -TreeEnsemble.tiny,
    Double(Float.leastNonzeroMagnitude), -Double(Float.leastNonzeroMagnitude), Double(Float.greatestFiniteMagnitude),
    -Double(Float.greatestFiniteMagnitude), .infinity, -.infinity, 1e300, .leastNonzeroMagnitude, 3, 7.25,
  ]

  init(seed: UInt64) {
    self.seed = seed
    var random = SplitMix64(seed: seed &* 7919 + 5)
    func pick(_ values: [Int]) -> Int { values[Int(random.next() % UInt64(values.count))] }
    columns = pick([1, 2, 5, 28, 70, 140])
    outputs = pick([1, 1, 3, 4])
    element = pick([0, 1]) == 0 ? .float32 : .float64
    depth = pick([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12])
    trees = pick([1, 2, 17, 64, 65, 130])
    isComplete = pick([0, 1]) == 1
    let spread = (0..<40).map { _ in Double(random.nextFloat()) * 3 }
    thresholdPool = Self.awkward + spread
    self.random = random
    if depth > 6 { trees = min(trees, 17) }
  }

  var description: String {
    "seed \(seed): \(trees) trees of depth \(depth), \(columns) columns of \(element), \(outputs) outputs"
  }

  private mutating func below(_ count: Int) -> Int { Int(random.next() % UInt64(count)) }

  mutating func ensemble() -> TreeEnsemble {
    var trees = TreeEnsemble(
      comparison: below(2) == 0 ? .below : .atMost, sums: below(2) == 0 ? .float32 : .float64, nodes: [],
      thresholds: [], leaves: [])
    trees.leafWidth = outputs > 1 && below(2) == 0 ? outputs : 1
    let (hasMissing, hasSets) = (below(2) == 0, below(3) == 0)
    if hasSets {
      trees.setWords = (0..<5).map { _ in UInt32(1 + below(3)) }
      trees.setBits = (0..<trees.setWords.reduce(0, +)).map { _ in UInt32(truncatingIfNeeded: random.next()) }
    }
    for _ in 0..<self.trees { grow(&trees, depth: depth, hasMissing, hasSets) }
    if outputs > 1, trees.leafWidth == 1 { trees.treeOutputs = (0..<self.trees).map { _ in UInt32(below(outputs)) } }
    if below(2) == 0 { trees.start = (0..<outputs).map { _ in Double(random.nextFloat()) } }
    if below(3) == 0 { trees.bias = (0..<outputs).map { _ in Double(random.nextFloat()) } }
    if below(3) == 0 { trees.divisor = Double(self.trees) }
    trees.flushesTiny = below(3) == 0
    return trees
  }

  private mutating func grow(_ trees: inout TreeEnsemble, depth: Int, _ hasMissing: Bool, _ hasSets: Bool) {
    guard depth > 0, isComplete || depth == self.depth || below(10) > 2 else {
      trees.nodes.append(0)
      for _ in 0..<trees.leafWidth { trees.leaves.append(below(20) == 0 ? -0.0 : Double(random.nextFloat())) }
      return
    }
    trees.nodes.append(UInt32(1 + below(columns)))
    let isSet = hasSets && below(3) == 0
    if hasSets { trees.sets.append(isSet ? UInt32(1 + below(trees.setWords.count)) : 0) }
    trees.thresholds.append(isSet ? 0 : thresholdPool[below(thresholdPool.count)])
    if hasMissing { trees.missing.append(TreeEnsemble.Missing.allCases[below(isSet ? 3 : 5)]) }
    grow(&trees, depth: depth - 1, hasMissing, hasSets)
    grow(&trees, depth: depth - 1, hasMissing, hasSets)
  }

  /// A graph of these trees alone.
  func graph(of trees: TreeEnsemble) -> ModelGraph {
    TreeEnsembleTests.graph(trees, columns: columns, outputs: outputs, element: element)
  }

  /// Values at, just below and just above thresholds, missing ones, zeros, categories and others.
  mutating func rows(for trees: TreeEnsemble, count: Int) -> [[Double]] {
    (0..<count).map { _ in
      (0..<columns).map { _ in
        let threshold = thresholdPool[below(thresholdPool.count)]
        var value: Double
        switch below(8) {
        case 0: value = .nan
        case 1: value = threshold.nextUp
        case 2: value = threshold.nextDown
        case 3: value = Double(below(100))
        case 4: value = Double(random.nextFloat()) * 3
        default: value = threshold
        }
        if element == .float32 { value = Double(Float(value)) }
        return value
      }
    }
  }
}
