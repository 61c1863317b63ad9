import NeedletailCore
import NeedletailEngine
import NeedletailTraining
import Testing

/// Foreign trees become the engine's preorder, or an error that names tree and node.
@Suite struct TreeModelTests {
  private func leaf(_ value: Double) -> TreeModel.Node { .leaf([value]) }

  private func split(
    _ column: Int, _ threshold: Double, _ left: Int, _ right: Int, missing: TreeEnsemble.Missing = .left
  ) -> TreeModel.Node {
    .split(.init(column: column, test: .threshold(threshold), missing: missing, left: left, right: right))
  }

  private func model(_ trees: [TreeModel.Tree], outputs: Int = 1) -> TreeModel {
    TreeModel(comparison: .below, sums: .float64, outputs: outputs, trees: trees)
  }

  private func message(of model: TreeModel) -> String {
    (#expect(throws: TreeModelError.self) { try model.ensemble() })?.description ?? ""
  }

  @Test func nodesInAnyOrderBecomePreorder() throws {
    var model = model(
      [
        .init(nodes: [leaf(3), split(2, 0.5, 3, 0, missing: .right), leaf(1), split(0, -1, 2, 4), leaf(2)], root: 1),
        .init(nodes: [leaf(7)], output: 1),
      ], outputs: 2)
    (model.start, model.bias, model.divisor, model.flushesTiny) = ([1, 2], [3, 4], 2, true)
    var expected = TreeEnsemble(
      comparison: .below, sums: .float64, nodes: [3, 1, 0, 0, 0, 0], thresholds: [0.5, -1], leaves: [1, 2, 3, 7])
    expected.missing = [.right, .left]
    expected.treeOutputs = [0, 1]
    (expected.start, expected.bias, expected.divisor, expected.flushesTiny) = ([1, 2], [3, 4], 2, true)
    #expect(try model.ensemble() == expected)
  }

  @Test func equalSetsOfCategoriesAreStoredOnce() throws {
    func tree(_ codes: [Int]) -> TreeModel.Tree {
      .init(nodes: [.split(.init(column: 0, test: .categories(codes), left: 1, right: 2)), leaf(1), leaf(2)])
    }
    let ensemble = try model([tree([1, 33]), tree([33, 1, 1]), tree([]), tree([0])]).ensemble()
    #expect(ensemble.sets == [1, 1, 2, 3])
    #expect(ensemble.setWords == [2, 1, 1])
    #expect(ensemble.setBits == [2, 2, 0, 1])
    #expect(ensemble.thresholds == [0, 0, 0, 0])
  }

  @Test func leavesMayHoldOneValueForEachOutput() throws {
    let ensemble = try model([.init(nodes: [split(0, 0, 1, 2), .leaf([1, 2]), .leaf([3, 4])])], outputs: 2).ensemble()
    #expect(ensemble.leafWidth == 2)
    #expect(ensemble.leaves == [1, 2, 3, 4])
    #expect(ensemble.treeOutputs.isEmpty)
  }

  @Test func coversOfLeavesAreKeptInPreorderWhereEveryTreeTells() throws {
    let tree = TreeModel.Tree(nodes: [split(0, 0, 2, 1), leaf(1), leaf(2)], covers: [10, 4, 6])
    #expect(try model([tree, .init(nodes: [leaf(7)], covers: [10])]).ensemble().covers == [6, 4, 10])
    #expect(try model([tree, .init(nodes: [leaf(7)])]).ensemble().covers.isEmpty)
    #expect(
      message(of: model([.init(nodes: [leaf(7)], covers: [])]).with(covers: [1, 2]))
        == "tree 0: covers: expected 0 or 1, one for each node, found 2")
    #expect(
      message(of: model([.init(nodes: [leaf(7)])]).with(covers: [-1]))
        == "tree 0, node 0: cover: expected a finite number from 0, found -1.0")
    #expect(message(of: model([.init(nodes: [leaf(7)])]).with(covers: [1e39])).contains("expected a finite number"))
  }

  @Test func whatIsNoTreeIsRefusedByItsNode() {
    #expect(message(of: model([.init(nodes: [])])) == "tree 0: root: expected a node, found 0")
    #expect(message(of: model([.init(nodes: [leaf(1)], root: 1)])) == "tree 0: root: expected 0 to 0, found 1")
    #expect(
      message(of: model([.init(nodes: [leaf(1)]), .init(nodes: [split(0, 0, 1, 9), leaf(1)])]))
        == "tree 1, node 0: child: expected 0 to 1, found 9")
    #expect(
      message(of: model([.init(nodes: [split(0, 0, 1, -1), leaf(1)])]))
        == "tree 0, node 0: child: expected 0 to 1, found -1")
    #expect(
      message(of: model([.init(nodes: [split(0, 0, 1, 0), leaf(1)])]))
        == "tree 0, node 0: expected one way from the root, found two or a cycle")
    #expect(
      message(of: model([.init(nodes: [split(0, 0, 1, 1), leaf(1)])]))
        == "tree 0, node 1: expected one way from the root, found two or a cycle")
    #expect(
      message(of: model([.init(nodes: [split(0, 0, 1, 2), leaf(1), .leaf([1, 2])])]))
        == "tree 0, node 2: leaf: expected 1 values, found 2")
    #expect(message(of: model([.init(nodes: [.leaf([])])])) == "tree 0, node 0: leaf: expected 1 values, found 0")
    #expect(
      message(of: model([.init(nodes: [.leaf([1, 2])])], outputs: 3)) == "leaves: expected 1 value or 3, found 2")
    #expect(message(of: model([.init(nodes: [leaf(1)], output: 1)])) == "tree 0: output: expected 0 to 0, found 1")
    #expect(
      message(of: model([.init(nodes: [split(-1, 0, 1, 2), leaf(1), leaf(1)])]))
        == "tree 0, node 0: column: expected 0 to 1048575, found -1")
    #expect(message(of: model([], outputs: 0)) == "outputs: expected 1 to 1048576, found 0")
    let wide = TreeModel.Split(column: 0, test: .categories([0, 1 << 20]), left: 1, right: 2)
    #expect(
      message(of: model([.init(nodes: [.split(wide), leaf(1), leaf(1)])]))
        == "tree 0, node 0: category: expected 0 to 1048575, found 1048576")
    #expect(
      message(of: model(Array(repeating: .init(nodes: [leaf(1)]), count: 65_537)))
        == "trees: expected at most 65536, found 65537")
    let depth = 2000
    let chain = (0..<depth).map { split(0, 0, 2 * $0 + 1, 2 * $0 + 2) }.flatMap { [$0, leaf(1)] } + [leaf(1)]
    #expect(message(of: model([.init(nodes: chain)])).hasSuffix("expected at most 1024 splits above it, found 1025"))
  }
}

extension TreeModel {
  /// With covers of the first tree.
  fileprivate func with(covers: [Double]) -> TreeModel {
    var model = self
    model.trees[0].covers = covers
    return model
  }
}
