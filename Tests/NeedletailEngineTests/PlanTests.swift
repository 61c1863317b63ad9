import NeedletailBLAS
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@Suite struct PlanTests {
  @Test(arguments: [Dense.Activation.identity, .relu, .tanh, .logistic, .gelu])
  func fp32AgreesWithDoublePrecision(activation: Dense.Activation) throws {
    let definition = ModelFixtures.mlp(widths: [13, 37, 20, 5], activation: activation, seed: 3)
    let plan = try Plan(definition)
    let rows = randomRows(9, columns: 13, seed: 4)
    let found = plan.outputs(of: rows)
    for (index, row) in rows.enumerated() {
      let values = definition.graph.reference(row.map { Double($0) })
      for column in 0..<5 {
        #expect(abs(Double(found[0][index * 5 + column]) - values[4][column]) < 2e-6)
      }
      #expect(Double(found[1][index]) == values[5][0])
    }
    #expect(plan.precision == "fp32")
  }

  @Test func int8AgreesWithDoublePrecisionWithinItsResolution() throws {
    let definition = ModelFixtures.mlp(widths: [64, 96, 48, 10], precision: .int8, seed: 5)
    let plan = try Plan(definition)
    let rows = randomRows(32, columns: 64, seed: 6)
    let found = plan.outputs(of: rows)
    var worst = 0.0
    for (index, row) in rows.enumerated() {
      let values = definition.graph.reference(row.map { Double($0) })
      for column in 0..<10 { worst = max(worst, abs(Double(found[0][index * 10 + column]) - values[4][column])) }
    }
    #expect(worst < 0.03)
    #expect(worst > 0, "the activations were not quantised")
    #expect(plan.precision == "int8")
  }

  @Test func int8StaysNearItsFp32Twin() throws {
    let rows = randomRows(32, columns: 64, seed: 6)
    let exact = try Plan(ModelFixtures.mlp(widths: [64, 96, 48, 10], seed: 5)).outputs(of: rows)
    let rounded = try Plan(ModelFixtures.mlp(widths: [64, 96, 48, 10], precision: .int8, seed: 5)).outputs(of: rows)
    for (x, y) in zip(exact[0], rounded[0]) { #expect(abs(x - y) < 0.05) }
  }

  @Test(arguments: [ModelFixtures.Precision.float32, .int8])
  func allInstructionSetsGiveTheSameBits(precision: ModelFixtures.Precision) throws {
    for (seed, activation) in [Dense.Activation.identity, .relu, .tanh, .logistic, .gelu].enumerated() {
      let definition = ModelFixtures.mlp(
        widths: [33, 129, 50, 7], precision: precision, activation: activation, seed: UInt64(seed))
      let rows = randomRows(23, columns: 33, seed: 8)
      let expected = try Plan(definition, isa: .scalar).outputs(of: rows)
      for isa in InstructionSet.supported {
        let found = try Plan(definition, isa: isa).outputs(of: rows)
        #expect(found.map { bits($0) } == expected.map { bits($0) }, "\(isa)")
      }
    }
  }

  @Test func preprocessingIsOneStepAndAgreesWithDoublePrecision() throws {
    let definition = ModelFixtures.logistic(unknown: .zeros)
    let plan = try Plan(definition)
    #expect(plan.steps.count == 4, "\(plan.steps)")
    #expect(plan.steps[0].description == "impute: impute + standardise + one-hot, 3 → 5")
    let rows: [[Float]] = [[25, 60, 0], [.nan, 10, 2], [70, 55, -1], [41, 49, .nan], [30, 30, 3], [30, 30, 1.5]]
    let found = plan.outputs(of: rows)
    for (index, row) in rows.enumerated() {
      let values = definition.graph.reference(row.map { Double($0) })
      for column in 0..<2 { #expect(abs(Double(found[0][2 * index + column]) - values[5][column]) < 1e-6) }
      #expect(Double(found[1][index]) == values[6][0])
    }
  }

  @Test func clampKeepsMinMaxWithinItsBounds() throws {
    let graph = ModelGraph(
      task: .regression, values: [.init(name: "row", columns: 2), .init(name: "scaled", columns: 2)],
      nodes: [
        Node(
          name: "min-max", input: 0, output: 1,
          operation: Affine(scaling: .minMax, offset: [10, 0], scale: [0.1, 0.5], clamp: true))
      ],
      outputs: [.init(name: "scaled", value: 1, kind: .number)], tensors: [])
    let plan = try Plan(graph)
    #expect(plan.outputs(of: [[15, -1], [5, 1], [100, 9]]) == [[0.5, 0, 0, 0.5, 1, 1]])
  }

  @Test func aSigmoidBehindADenseLayerIsFusedWithoutChangingItsBits() throws {
    var fused = ModelFixtures.linearRegression()
    fused.graph.values.append(.init(name: "probability", columns: 1))
    fused.graph.nodes.append(Node(name: "sigmoid", input: 1, output: 2, operation: Sigmoid()))
    fused.graph.outputs = [.init(name: "probability", value: 2, kind: .number)]
    var separate = fused
    separate.graph.outputs.append(.init(name: "logit", value: 1, kind: .number))
    let rows = randomRows(20, columns: 3, seed: 9)
    let (a, b) = (try Plan(fused), try Plan(separate))
    #expect(a.steps.count == 1)
    #expect(b.steps.count == 2)
    #expect(bits(a.outputs(of: rows)[0]) == bits(b.outputs(of: rows)[0]))
  }

  @Test func valuesThatNoOutputNeedsAreNotComputed() throws {
    var definition = ModelFixtures.mlp(widths: [4, 8, 3])
    definition.graph.outputs = [.init(name: "hidden", value: 1, kind: .number)]
    #expect(try Plan(definition).steps.count == 1)
  }

  @Test func layersThatShareAnInputQuantiseItOnce() throws {
    var definition = ModelFixtures.mlp(widths: [16, 8], precision: .int8)
    definition.graph.values.append(.init(name: "twin", columns: 8))
    definition.graph.nodes.append(
      Node(
        name: "twin", input: 0, output: 4, operation: Dense(weights: 0, bias: nil, activation: .relu)))
    definition.graph.outputs.append(.init(name: "twin", value: 4, kind: .number))
    #expect(try Plan(definition).steps.filter { $0.operation.hasPrefix("quantise") }.count == 1)
  }

  @Test func aRunLeavesItsInputInPlace() throws {
    let plan = try Plan(ModelFixtures.mlp(widths: [8, 64, 64, 4], precision: .int8))
    let workspace = try Workspace(plan)
    workspace.fill(row: 0, with: (0..<8).map { Float($0) - 3 })
    plan.run(workspace, rows: 1)
    let first = Array(UnsafeBufferPointer(start: workspace.output(0), count: 4))
    plan.run(workspace, rows: 1)
    #expect(Array(UnsafeBufferPointer(start: workspace.output(0), count: 4)) == first)
  }

  @Test func aNaNShowsInTheAnswerOfItsRowOnly() throws {
    for precision in [ModelFixtures.Precision.float32, .int8] {
      let plan = try Plan(ModelFixtures.mlp(widths: [4, 8, 3], precision: precision))
      let found = plan.outputs(of: [[1, 2, 3, 4], [1, .nan, 3, 4]])[0]
      #expect(found.map { $0.isNaN } == [false, false, false, true, true, true])
    }
  }

  @Test func relaxedPlansStayWithinRounding() throws {
    let definition = ModelFixtures.mlp(widths: [32, 64, 10], activation: .tanh)
    var options = PlanOptions()
    options.relaxed = BLAS.product
    let relaxed = try Plan(definition.graph, options: options)
    let strict = try Plan(definition, rowsMax: 256)
    let rows = randomRows(100, columns: 32, seed: 11)
    for (x, y) in zip(relaxed.outputs(of: rows)[0], strict.outputs(of: rows)[0]) { #expect(abs(x - y) < 1e-5) }
    #expect(bits(relaxed.outputs(of: [rows[0]])[0]) == bits(strict.outputs(of: [rows[0]])[0]))
  }

  @Test func aTimedRunHasTheBitsOfAnyOtherAndATimeForEveryStep() throws {
    let plan = try Plan(ModelFixtures.mlp(widths: [40, 300, 200, 6], precision: .int8, activation: .gelu))
    let rows = randomRows(7, columns: 40, seed: 12)
    let expected = plan.outputs(of: rows)
    let workspace = try Workspace(plan)
    for (row, cells) in rows.enumerated() { workspace.fill(row: row, with: cells) }
    let nanoseconds = plan.timedRun(workspace, rows: 7)
    #expect(nanoseconds.count == plan.steps.count)
    #expect(nanoseconds.contains { $0 > 0 })
    #expect(bits(UnsafeBufferPointer(start: workspace.output(0), count: 7 * 6)) == bits(expected[0]))
  }

  @Test func aLayerGathersTheMagnitudesThatTheNextQuantiseNeeds() throws {
    let plan = try Plan(ModelFixtures.mlp(widths: [16, 24, 20, 4], precision: .int8))
    #expect(
      plan.steps.map(\.kernel) == [
        "quantise", "s8_gemm", "quantise_known", "s8_gemm", "quantise_known", "s8_gemm", "softmax", "argmax",
      ])
  }
}
