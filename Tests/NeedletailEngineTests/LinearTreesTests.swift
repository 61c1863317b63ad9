import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

/// Trees with linear leaves: by hand, against the slow reference, and as messages.
@Suite struct LinearTreesTests {
  /// The graph of ``BundleFixtures/linearTrees()``, with some spoiling, for rows of x and y.
  private func answers(
    _ rows: [[Double]], isa: InstructionSet? = nil, _ change: (inout LinearTrees) -> Void = { _ in }
  ) throws -> [Float] {
    var graph = BundleFixtures.linearTrees().graph
    var trees = try #require(graph.nodes[0].operation as? LinearTrees)
    change(&trees)
    graph.nodes[0].operation = trees
    return try answers(graph, rows, isa: isa)
  }

  private func answers(_ graph: ModelGraph, _ rows: [[Double]], isa: InstructionSet? = nil) throws -> [Float] {
    var options = PlanOptions()
    options.isa = isa
    options.rowsMax = rows.count
    let plan = try Plan(graph, options: options)
    let workspace = try Workspace(plan)
    for (index, cell) in rows.joined().enumerated() {
      workspace.input.storeBytes(of: cell, toByteOffset: 8 * index, as: Double.self)
    }
    plan.run(workspace, rows: rows.count)
    return Array(
      UnsafeBufferPointer(start: workspace.output(0), count: rows.count * plan.outputs[0].columns))
  }

  private func fault(_ change: (inout LinearTrees) -> Void) -> String {
    do {
      _ = try answers([[0, 0]], change)
      return ""
    } catch {
      return "\(error)"
    }
  }

  @Test func aLeafAddsItsTermsToItsConstant() throws {
    // x ≤ 1.5 ? 1 + 2x − 0.5y : 3, and −1 + y.
    let rows: [[Double]] = [[1, 4], [1.5, 4], [2, 4], [-2, 0]]
    // 1 + 2 − 2 + 3, 1 + 3 − 2 + 3, 3 + 3, 1 − 4 − 1.
    let expected: [Float] = [4, 5, 6, -4]
    #expect(try answers(rows) == expected)
  }

  @Test func aRowThatLacksAColumnOfItsLeafGetsTheLeafsValue() throws {
    // Without x the row goes left and gets 10; without y both leaves that ask for it give their values.
    let rows: [[Double]] = [[.nan, 4], [1, .nan], [2, .nan]]
    let expected: [Float] = [10 + 3, 10 + 30, 3 + 30]
    #expect(try answers(rows) == expected)
  }

  @Test func sumsAreDividedAndShiftedInDoublePrecision() throws {
    let found = try answers([[2, 0x1p-40]]) { trees in
      trees.constants = [0, 1, -1]
      (trees.trees.start, trees.trees.bias, trees.trees.divisor) = ([0], [0.25], 2)
    }
    // 1 − 1 + 2⁻⁴⁰, of which fp32 sums would keep nothing beside 1.
    #expect(found == [Float(0x1p-41 + 0.25)])
    let exact = try answers([[2, 0x1p-40]]) { $0.constants = [0, 1, -1] }
    #expect(exact == [0x1p-40])
  }

  @Test func tinyValuesAreZeroInTermsToo() throws {
    let huge: (inout LinearTrees) -> Void = { trees in
      trees.trees.flushesTiny = true
      trees.coefficients = [1e36, 0, 0]
    }
    #expect(try answers([[1e-36, 0]], huge) == [0])
    #expect(try answers([[2e-35, 0]], huge) == [20])
  }

  @Test(arguments: 0..<24)
  func linearLeavesGiveTheBitsOfTheReferenceOnEveryInstructionSet(seed: Int) throws {
    var fixture = TreeFixture(seed: UInt64(seed))
    fixture.element = .float64
    var trees = fixture.ensemble()
    // Leaves of one value, sums in fp64.
    guard trees.leafWidth == 1 else { return }
    trees.sums = .float64
    var linear = LinearTrees(trees: trees, constants: [], termCounts: [], termColumns: [], coefficients: [])
    var random = SplitMix64(seed: UInt64(seed))
    for _ in trees.leaves {
      linear.constants.append(Double(random.nextFloat()))
      linear.termCounts.append(UInt32(random.next() % 4))
      for _ in 0..<Int(linear.termCounts[linear.termCounts.count - 1]) {
        linear.termColumns.append(UInt32(random.next() % UInt64(fixture.columns)))
        linear.coefficients.append(Double(random.nextFloat()))
      }
    }
    let rows = fixture.rows(for: trees, count: 60)
    var graph = fixture.graph(of: trees)
    graph.nodes[0].operation = linear
    let expected = rows.flatMap { graph.reference($0)[1].map { Float($0) } }
    for isa in InstructionSet.supported {
      #expect(try bits(answers(graph, rows, isa: isa)) == bits(expected), "\(fixture) on \(isa)")
    }
    let bound = linear.packedBytes(graph.context(of: 0))
    #expect(try Plan(graph).residentBytes <= bound + 20 * 64, "\(fixture)")
    let memory = MessageBuilder()
    let message = try #require(linear.message(in: memory))
    #expect(try LinearTrees(message.pointee) == linear)
  }

  @Test func whatDoesNotFitIsNamed() {
    #expect(
      fault { $0.trees.sums = .float32 }.contains("expected sums in float64 and leaves of one value, found float32"))
    #expect(fault { $0.constants.removeLast() }.contains("for each of 3 leaves, found 2 and 3"))
    #expect(fault { $0.termCounts[0] = 3 }.contains("for each of 4 terms, found 3 and 3"))
    #expect(fault { $0.termCounts[0] = .max }.contains("expected at most 4194304 terms of leaves, found 4294967296"))
    #expect(fault { $0.coefficients.removeLast() }.contains("for each of 3 terms, found 3 and 2"))
    #expect(fault { $0.termColumns[2] = 2 }.contains("term 2: expected a column from 0 to 1, found 2"))
    #expect(fault { $0.coefficients[1] = .nan }.contains("coefficient 1: expected a finite number, found nan"))
    #expect(fault { $0.constants[1] = .infinity }.contains("constant 1: expected a finite number, found inf"))
    #expect(fault { $0.trees.nodes.removeLast() }.contains("leaves"))
  }
}
