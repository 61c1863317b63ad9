import NeedletailCore
import NeedletailTestSupport
import Testing

@testable import NeedletailEngine

/// Scratch of the threads that run a plan.
@Suite struct ScratchTests {
  @Test func memoryThatTheSystemDoesNotHaveIsAnErrorAndNotTheEnd() {
    #expect(AlignedMemory.allocate(bytes: 1 << 60) == nil)
  }

  @Test func everyThreadHasScratchOfItsOwn() throws {
    let plan = try Plan(ModelFixtures.mlp(widths: [4, 8, 3]))
    let workspaces = try WorkspaceSet(plan, threads: 3)
    let members = (0..<3).map { workspaces[$0] } + [workspaces.background]
    for (index, member) in members.enumerated() { member.workspace.fill(row: 0, with: [Float(index), 1, 2, 3]) }
    for (index, member) in members.enumerated() {
      #expect(member.workspace.input.load(as: Float.self) == Float(index))
    }
    #expect(WorkspaceSet.bytes(plan, threads: 3) == 4 * plan.workspaceBytes)
  }

  @Test func whatLayoutsOfTreesTakeIsKnownBeforeTheyArePacked() throws {
    for seed in 1...60 as ClosedRange<UInt64> {
      var fixture = TreeFixture(seed: seed)
      let trees = fixture.ensemble()
      let graph = fixture.graph(of: trees)
      let isFloat64 = fixture.element == .float64
      let forest = TreeForest(trees, columns: fixture.columns, outputs: fixture.outputs, isFloat64: isFloat64)
      let storage = PlanStorage()
      let ranks = try trees.ranks(
        of: forest, columns: fixture.columns, isFloat64: isFloat64, in: storage, for: "trees")
      for isa in InstructionSet.supported {
        let layouts = try TreeLayouts(forest, ranks, isa: isa, for: "trees")
        let arrays = 16 * forest.nodes.count + 20 * forest.trees.count + 8 * forest.thresholds.count
        let bound = trees.loweringBytes(graph.context(of: 0))
        #expect(bound >= layouts.packedBytes + arrays + (16 << 20), "\(fixture), \(isa)")
      }
    }
  }

  @Test func scratchOfTreesIsPartOfEveryThreadsWorkspace() throws {
    // 64 complete trees of depth 8 over 140 columns, whose bytes of ranks are scratch.
    var fixture = TreeFixture(seed: 3)
    (fixture.columns, fixture.outputs, fixture.depth, fixture.trees, fixture.isComplete) = (140, 1, 8, 64, true)
    fixture.element = .float32
    let trees = fixture.ensemble()
    var options = PlanOptions()
    options.rowsMax = 4
    let plan = try Plan(fixture.graph(of: trees), options: options)
    // Four rows and their answers take 2,256 bytes; a byte for each column of a row that is ranked comes on top.
    #expect(plan.workspaceBytes >= 2256 + 140)
    #expect(WorkspaceSet.bytes(plan, threads: 5) == 6 * plan.workspaceBytes)
  }

  @Test(arguments: [false, true])
  func weightsPackedInPiecesHaveTheirPlaces(isInt8: Bool) throws {
    // Many pieces, and a last panel that is not full.
    let (columns, depth) = (1003, 1000)
    let elements = (0..<columns * depth).map { Int8(truncatingIfNeeded: $0 * 31 % 255 - 127) }
    let scales = (0..<columns).map { 0.001 * Float($0 + 1) }
    let storage: WeightTensor.Storage =
      isInt8
      ? .int8(elements, scales: scales)
      : .float32(elements.indices.map { Float(elements[$0]) * scales[$0 / depth] })
    let bias = WeightTensor(name: "b", shape: [columns], storage: .float32((0..<columns).map { Float($0) * 100 }))
    let graph = ModelGraph(
      task: .regression, values: [.init(name: "row", columns: depth), .init(name: "y", columns: columns)],
      nodes: [
        Node(name: "dense", input: 0, output: 1, operation: Dense(weights: 0, bias: 1, activation: .identity))
      ],
      outputs: [.init(name: "y", value: 1, kind: .number)],
      tensors: [WeightTensor(name: "w", shape: [columns, depth], storage: storage), bias])
    // The largest is 127, so that int8 rows are exact.
    let row = (0..<depth).map { Float($0 % 128) }
    let found = try Plan(graph).outputs(of: [row])[0]
    let expected = graph.reference(row.map { Double($0) })[1]
    for (a, b) in zip(found, expected) { #expect(abs(Double(a) - b) < 1 + abs(b) * 0.01) }
    #expect(found.count == columns && expected.count == columns)
  }
}
