import CNeedletailProto
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

/// One way to spoil a good ensemble of two trees over three columns and two outputs, and words its error must hold.
struct HostileTrees: Sendable, CustomTestStringConvertible {
  var name: String
  var message: String
  var spoil: @Sendable (inout TreeEnsemble) -> Void

  var testDescription: String { name }

  init(_ name: String, _ message: String, _ spoil: @escaping @Sendable (inout TreeEnsemble) -> Void) {
    (self.name, self.message, self.spoil) = (name, message, spoil)
  }

  /// Tree 0: a split on column 0 over a set split on column 2 and a leaf; tree 1: a split on column 1.
  static let victim: TreeEnsemble = {
    var trees = TreeEnsemble(
      comparison: .below, sums: .float32, nodes: [1, 3, 0, 0, 0, 2, 0, 0], thresholds: [0.5, 0, -1],
      leaves: [1, 2, 3, 4, 5])
    trees.missing = [.left, .right, .orZeroLeft]
    (trees.sets, trees.setWords, trees.setBits) = ([0, 1, 0], [2], [5, 1])
    trees.treeOutputs = [0, 1]
    (trees.start, trees.bias, trees.divisor) = ([0.5, 0], [0, 1], 2)
    return trees
  }()

  static let all: [HostileTrees] = [
    .init("no nodes", "expected a tree, found no nodes") {
      ($0.nodes, $0.thresholds, $0.leaves, $0.missing, $0.sets, $0.treeOutputs) = ([], [], [], [], [], [])
    },
    .init("a split without its right subtree", "tree 1: expected two children for each split, found the end") {
      $0.nodes.removeLast()
    },
    .init("a split alone", "tree 0: expected two children for each split, found the end of the nodes after 1") {
      $0.nodes = [1]
    },
    .init("another tree than there are outputs for", "expected 0 or 3 outputs of trees, found 2") {
      $0.nodes.append(0)
      $0.leaves.append(0)
    },
    .init("column beyond the row", "tree 1, split 0: expected a column from 0 to 2, found 3") { $0.nodes[5] = 4 },
    .init("column of all bits", "expected a column from 0 to 2, found 4294967294") { $0.nodes[0] = .max },
    .init("too few thresholds", "expected a threshold for each of 3 splits, found 2") { $0.thresholds.removeLast() },
    .init("too many thresholds", "expected a threshold for each of 3 splits, found 4") { $0.thresholds.append(1) },
    .init("NaN as threshold", "tree 1, split 0: expected a number as threshold, found nan") {
      $0.thresholds[2] = .nan
    },
    .init("too few covers", "covers: expected 0 or 5, one for each leaf, found 1") { $0.covers = [1] },
    .init("cover below 0", "cover of leaf 1: expected a finite number from 0, found -1.0") {
      $0.covers = [0, -1, 0, 0, 0]
    },
    .init("infinite cover", "cover of leaf 4: expected a finite number from 0, found inf") {
      $0.covers = [0, 1, 0, 0, .infinity]
    },
    .init("too few treatments", "expected 0 or 3 treatments of missing values, found 1") { $0.missing = [.left] },
    .init("too few numbers of sets", "expected 0 or 3 numbers of sets, found 1") { $0.sets = [1] },
    .init("set that is not there", "tree 0, split 1: expected a set from 1 to 1, found 2") { $0.sets[1] = 2 },
    .init("set without words", "set 1: expected 1 to 2 words, found 0") { $0.setWords = [0, 2] },
    .init("set longer than all words", "set 1: expected 1 to 2 words, found 3") { $0.setWords = [3] },
    .init("words of no set", "expected 2 words of categories, found 3") { $0.setBits.append(1) },
    .init("words that sets share", "expected 4 words of categories, found 2") { $0.setWords = [2, 2] },
    .init("threshold beside a set", "tree 0, split 1: expected threshold 0 beside a set, found 1.0") {
      $0.thresholds[1] = 1
    },
    .init("zeros taken for missing beside a set", "expected no zeros taken for missing beside a set") {
      $0.missing[1] = .orZeroRight
    },
    .init("too few leaves", "expected 5 values of leaves, found 4") { $0.leaves.removeLast() },
    .init("leaf width between", "leaf width: expected 1 or 2, found 3") { $0.leafWidth = 3 },
    .init("leaf width of nothing", "leaf width: expected 1 or 2, found 0") { $0.leafWidth = 0 },
    .init("too few leaves for their width", "expected 10 values of leaves, found 5") { $0.leafWidth = 2 },
    .init("tree of a third output", "tree 1: expected an output from 0 to 1, found 2") { $0.treeOutputs[1] = 2 },
    .init("tree of the second output of wide leaves", "tree 1: expected an output from 0 to 0, found 1") {
      $0.leafWidth = 2
      $0.leaves += $0.leaves
    },
    .init("NaN leaf", "leaf value 3: expected a finite number of type float32, found nan") { $0.leaves[3] = .nan },
    .init("infinite leaf", "leaf value 0: expected a finite number") { $0.leaves[0] = .infinity },
    .init("leaf that fp32 would round", "leaf value 1: expected a finite number of type float32, found 0.1") {
      $0.leaves[1] = 0.1
    },
    .init("leaf beyond fp32", "leaf value 1: expected a finite number of type float32, found 1e+300") {
      $0.leaves[1] = 1e300
    },
    .init("starts for other outputs", "start: expected 0 or 2 numbers, found 3") { $0.start.append(0) },
    .init("biases for other outputs", "bias: expected 0 or 2 numbers, found 1") { $0.bias = [1] },
    .init("NaN start", "start 1: expected a finite number") { $0.start[1] = .nan },
    .init("divisor 0", "divisor: expected a finite number above 0 of type float32, found 0.0") { $0.divisor = 0 },
    .init("negative divisor", "divisor: expected a finite number above 0") { $0.divisor = -1 },
    .init("infinite divisor", "divisor: expected a finite number above 0") { $0.divisor = .infinity },
    .init("a tree of one million levels", "tree 0, node 2048: expected at most 1024 splits above a leaf, found more") {
      $0.nodes = Array(repeating: [1, 0], count: 1 << 20).flatMap { $0 } + [0]
    },
    .init("a million splits without a leaf", "tree 0, node 1024: expected at most 1024 splits") {
      $0.nodes = Array(repeating: 1, count: 1 << 20)
    },
    .init("too many trees", "node 65536: expected at most 65536 trees, found more") {
      $0.nodes = Array(repeating: 0, count: 65_537)
    },
    .init("too many nodes", "expected at most 4194304 splits and leaves, found 4194305") {
      $0.nodes = Array(repeating: 0, count: (1 << 22) + 1)
    },
  ]
}

@Suite struct HostileTreesTests {
  private func graph(_ trees: TreeEnsemble, input: ValueType = ValueType(columns: 3)) -> ModelGraph {
    ModelGraph(
      task: .regression, values: [.init(name: "row", type: input), .init(name: "y", columns: 2)],
      nodes: [Node(name: "trees", input: 0, output: 1, operation: trees)],
      outputs: [.init(name: "y", value: 1, kind: .number)], tensors: [])
  }

  @Test func theVictimIsWell() throws { try graph(HostileTrees.victim).check() }

  @Test(arguments: HostileTrees.all)
  func aHostileEnsembleIsRefusedWithOneSentence(_ hostile: HostileTrees) {
    var trees = HostileTrees.victim
    hostile.spoil(&trees)
    let error = #expect(throws: PlanError.self) { try Plan(graph(trees)) }
    #expect(error?.message.contains(hostile.message) == true, "\(error?.message ?? "")")
    #expect(error?.node == "trees")
  }

  @Test func treesReadColumnsOfNumbersOnly() {
    for input in [ValueType(.int64, [3]), ValueType(.float32, [3, 1])] {
      let error = #expect(throws: PlanError.self) { try Plan(graph(HostileTrees.victim, input: input)) }
      #expect(error?.message.contains("expected f32 or f64 columns as input") == true, "\(error?.message ?? "")")
    }
  }

  @Test func aMessageWithUnknownNumbersIsRefused() throws {
    let memory = MessageBuilder()
    let message = try #require(HostileTrees.victim.message(in: memory))
    var spoiled = message.pointee
    spoiled.missing.data[1] = 5
    var fault = #expect(throws: GraphFault.self) { try TreeEnsemble(spoiled) }
    #expect(fault?.message == "missing, split 1: expected 0 to 4, found 5")
    spoiled = try #require(HostileTrees.victim.message(in: memory)).pointee
    spoiled.sums.rawValue = 5
    fault = #expect(throws: GraphFault.self) { try TreeEnsemble(spoiled) }
    #expect(fault?.message == "sums: expected one of [1, 2], found 5")
    #expect(fault?.kind == .unsupported)
  }

  @Test func memoryIsAccountedForBeforeItIsAllocated() throws {
    for seed in 0..<12 {
      var fixture = TreeFixture(seed: UInt64(seed))
      let trees = fixture.ensemble()
      let graph = fixture.graph(of: trees)
      let bound = trees.packedBytes(graph.context(of: 0))
      // Blocks are rounded up to 64 bytes, of which a step has some twenty.
      for isa in InstructionSet.supported {
        var options = PlanOptions()
        options.isa = isa
        #expect(try Plan(graph, options: options).residentBytes <= bound + 20 * 64, "\(fixture)")
      }
    }
  }
}
