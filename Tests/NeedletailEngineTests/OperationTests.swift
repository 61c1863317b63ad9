import Foundation
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

/// A graph of one node between its inputs and one output, each input reached through a selection of the row's columns.
struct OneNode {
  var plan: Plan
  var graph: ModelGraph

  /// - Parameters:
  ///   - inputs: types of the values that the operation reads; their columns stand one after the other in the row.
  ///   - output: type of what it writes; a rank above one is flattened behind it.
  init(
    _ operation: any GraphOperation, inputs: [ValueType], output: ValueType, isa: InstructionSet? = nil
  ) throws {
    let columns = inputs.reduce(0) { $0 + $1.columns }
    let element = inputs[0].element
    var values = [ModelGraph.Value(name: "row", type: ValueType(element, [columns]))]
    var nodes: [Node] = []
    var first = 0
    var read: [Int] = []
    for (index, input) in inputs.enumerated() {
      values.append(.init(name: "flat \(index)", type: ValueType(element, [input.columns])))
      nodes.append(
        Node(
          name: "select \(index)", input: 0, output: values.count - 1,
          operation: SelectColumns(columns: Array(first..<first + input.columns))))
      values.append(.init(name: "in \(index)", type: input))
      nodes.append(
        Node(
          name: "shape \(index)", input: values.count - 2, output: values.count - 1,
          operation: Reshape(shape: input.shape)))
      read.append(values.count - 1)
      first += input.columns
    }
    values.append(.init(name: "out", type: output))
    nodes.append(Node(name: "operation", inputs: read, outputs: [values.count - 1], operation: operation))
    values.append(.init(name: "flat", type: ValueType(output.element, [output.columns])))
    nodes.append(
      Node(
        name: "flatten", input: values.count - 2, output: values.count - 1,
        operation: Reshape(shape: [output.columns])))
    if output.element == .float64 {
      let ones = [Float](repeating: 1, count: output.columns)
      values.append(.init(name: "narrow", columns: output.columns))
      nodes.append(
        Node(
          name: "narrow", input: values.count - 2, output: values.count - 1,
          operation: Affine(scaling: .standardise, offset: ones.map { _ in 0 }, scale: ones)))
    }
    graph = ModelGraph(
      task: .regression, values: values, nodes: nodes,
      outputs: [.init(name: "out", value: values.count - 1, kind: .number)], tensors: [])
    var options = PlanOptions()
    options.isa = isa
    options.rowsMax = 64
    plan = try Plan(graph, options: options)
  }

  func answers(_ rows: [[Double]]) -> [Float] {
    let workspace = plan.workspace()
    let width = plan.input.element.bytes
    for (row, cells) in rows.enumerated() {
      for (column, cell) in cells.enumerated() {
        let offset = (row * plan.inputColumns + column) * width
        if plan.input.element == .float64 {
          workspace.input.storeBytes(of: cell, toByteOffset: offset, as: Double.self)
        } else {
          workspace.input.storeBytes(of: Float(cell), toByteOffset: offset, as: Float.self)
        }
      }
    }
    plan.run(workspace, rows: rows.count)
    return Array(UnsafeBufferPointer(start: workspace.output(0), count: rows.count * plan.outputs[0].columns))
  }
}

/// Each new operation against plain loops over the definition in `bundle.proto`, on seeded random shapes, and against
/// its own reference.
@Suite struct OperationTests {
  private var random = SplitMix64(seed: 20)

  private mutating func size(_ max: Int) -> Int { 1 + Int(random.next() % UInt64(max)) }

  private mutating func rows(_ count: Int, _ columns: Int) -> [[Double]] {
    (0..<count).map { _ in (0..<columns).map { _ in Double(random.nextFloat() * 4) } }
  }

  /// Compares a plan on every instruction set with expected rows and with the operation's reference.
  private func check(
    _ operation: any GraphOperation, _ inputs: [ValueType], _ output: ValueType, _ rows: [[Double]],
    _ expected: [[Double]]
  ) throws {
    for isa in InstructionSet.supported {
      let node = try OneNode(operation, inputs: inputs, output: output, isa: isa)
      let found = node.answers(rows)
      #expect(bits(found) == bits(expected.joined().map { Float($0) }), "\(operation.words) on \(isa)")
      for (row, cells) in rows.enumerated() {
        let out = try #require(node.graph.outputs.first).value
        let reference = node.graph.reference(cells)[out]
        #expect(bits(reference.map { Float($0) }) == bits(expected[row].map { Float($0) }))
      }
    }
  }

  @Test(arguments: [ValueType.Element.float32, .float64])
  mutating func addAddsElementByElement(element: ValueType.Element) throws {
    for _ in 0..<20 {
      let shape = [size(3), size(40)]
      let type = ValueType(element, shape)
      let rows = rows(size(9), 2 * type.columns)
      let expected = rows.map { row in
        (0..<type.columns).map { i in
          element == .float32
            ? Double(Float(row[i]) + Float(row[type.columns + i])) : row[i] + row[type.columns + i]
        }
      }
      try check(Add(), [type, type], type, rows, expected)
    }
  }

  @Test mutating func concatPutsTheLastDimensionsSideBySide() throws {
    for _ in 0..<20 {
      let outer = size(3)
      let widths = (0..<2 + Int(random.next() % 3)).map { _ in size(9) }
      let inputs = widths.map { ValueType(.float32, [outer, $0]) }
      let rows = rows(size(9), inputs.reduce(0) { $0 + $1.columns })
      let expected = rows.map { row in
        var result: [Double] = []
        for block in 0..<outer {
          var first = 0
          for width in widths {
            for column in 0..<width { result.append(row[first + block * width + column]) }
            first += outer * width
          }
        }
        return result
      }
      try check(Concat(), inputs, ValueType(.float32, [outer, widths.reduce(0, +)]), rows, expected)
    }
  }

  @Test(arguments: [ValueType.Element.float32, .float64])
  mutating func selectColumnsTakesThemInTheOrderNamed(element: ValueType.Element) throws {
    for _ in 0..<20 {
      let (outer, width, count) = (size(3), size(30), size(12))
      let chosen = (0..<count).map { _ in Int(random.next() % UInt64(width)) }
      let rows = rows(size(9), outer * width)
      let expected = rows.map { row in (0..<outer).flatMap { block in chosen.map { row[block * width + $0] } } }
      try check(
        SelectColumns(columns: chosen), [ValueType(element, [outer, width])], ValueType(element, [outer, count]), rows,
        expected)
    }
  }

  @Test mutating func reshapeKeepsTheElements() throws {
    let rows = rows(5, 24)
    try check(
      Reshape(shape: [4, 3, 2]), [ValueType(.float32, [2, 12])], ValueType(.float32, [4, 3, 2]), rows, rows)
  }

  @Test mutating func clipKeepsEachColumnWithinItsBounds() throws {
    for round in 0..<20 {
      let columns = size(30)
      let (low, high) = ([Float](repeating: -1, count: columns), (0..<columns).map { 0.5 + Float($0 % 3) })
      // One bound for all columns, one for each, or none.
      let clip = round % 3 == 0 ? Clip(low: [-1], high: high) : round % 3 == 1 ? Clip(low: low) : Clip(high: [0.75])
      var rows = rows(size(9), columns)
      rows[0][0] = .nan
      let expected = rows.map { row in
        row.enumerated().map { column, x -> Double in
          var y = x
          if round % 3 != 2, y < -1 { y = -1 }
          if round % 3 == 0, y > Double(high[column]) { y = Double(high[column]) }
          if round % 3 == 2, y > 0.75 { y = 0.75 }
          return y
        }
      }
      let type = ValueType(columns: columns)
      for isa in InstructionSet.supported {
        let node = try OneNode(clip, inputs: [type], output: type, isa: isa)
        let found = node.answers(rows)
        for (y, x) in zip(found, expected.joined()) { #expect(y == Float(x) || (y.isNaN && x.isNaN)) }
      }
      let node = try OneNode(clip, inputs: [type], output: type)
      let out = try #require(node.graph.outputs.first).value
      for (row, cells) in rows.enumerated() where row > 0 {
        #expect(node.graph.reference(cells)[out] == expected[row])
      }
    }
  }

  @Test mutating func aScalarBoundClipsToTheBitsOfOneBoundAColumn() throws {
    for columns in [1, 2, 7, 8, 9, 16, 31, 33, 64, 65] {
      let type = ValueType(columns: columns)
      var rows = rows(3, columns)
      rows[0][0] = .nan
      rows[1][0] = -0.0
      rows[2][columns - 1] = .infinity
      for (low, high) in [([-0.5], []), ([], [0.25]), ([-0.5], [0.25]), ([0], [0])] as [([Float], [Float])] {
        let spread = Clip(
          low: low.flatMap { Array(repeating: $0, count: columns) },
          high: high.flatMap { Array(repeating: $0, count: columns) })
        let expected = try OneNode(spread, inputs: [type], output: type, isa: .scalar).answers(rows)
        for isa in InstructionSet.supported {
          let found = try OneNode(Clip(low: low, high: high), inputs: [type], output: type, isa: isa).answers(rows)
          #expect(found.map(\.bitPattern) == expected.map(\.bitPattern), "\(isa), \(columns) columns")
        }
      }
    }
  }

  @Test func expIsThePowerOfEOnEveryInstructionSet() throws {
    let columns = 37
    let wide: [Double] = (0..<columns).map { -90 + 5 * Double($0) }
    let narrow: [Double] = (0..<columns).map { Double($0) / 7 - 2.5 }
    let awkward: [Double] = [.nan, -.infinity, .infinity, -200, 200]
    let rows = [wide, narrow, awkward + [Double](repeating: -0.0, count: columns - 5)]
    let type = ValueType(columns: columns)
    for isa in InstructionSet.supported {
      let found = try OneNode(Exp(), inputs: [type], output: type, isa: isa).answers(rows)
      for (y, x) in zip(found, rows.joined()) {
        let expected = Foundation.exp(Double(Float(x)))
        if expected.isNaN {
          #expect(y.isNaN)
        } else if expected > Double(Float.greatestFiniteMagnitude) {
          #expect(y > 1e38)
        } else {
          #expect(abs(Double(y) - expected) <= 3e-7 * expected + 1e-37, "\(isa), exp(\(x))")
        }
      }
    }
  }

  @Test(arguments: InstructionSet.supported)
  func softplusAndSignedSquareAreTheirFormulas(isa: InstructionSet) throws {
    let row: [Double] = (0..<61).map { -30 + Double($0) + 1.0 / 3 } + [0, -0.0, 88, -88, 1e20, -1e-20]
    let awkward = [Double.nan, .infinity, -.infinity] + [Double](repeating: 0.5, count: row.count - 3)
    let type = ValueType(columns: row.count)
    let softplus = try OneNode(Softplus(), inputs: [type], output: type, isa: isa).answers([row, awkward])
    let square = try OneNode(SignedSquare(), inputs: [type], output: type, isa: isa).answers([row, awkward])
    for (column, x) in row.map({ Double(Float($0)) }).enumerated() {
      let expected = x > 0 ? x + Foundation.log1p(Foundation.exp(-x)) : Foundation.log1p(Foundation.exp(x))
      // What would be smaller than any normal number is 0.
      let error = 2e-7 * expected + Double(Float.leastNormalMagnitude)
      #expect(abs(Double(softplus[column]) - expected) <= error, "softplus(\(x))")
      #expect(square[column] == Float(x < 0 ? -x * x : x * x) || abs(x) > 1e19, "square of \(x)")
    }
    #expect(softplus[row.count].isNaN && softplus[row.count + 1] == .infinity && softplus[row.count + 2] < 1e-37)
    #expect(square[row.count].isNaN && square[row.count + 1] == .infinity && square[row.count + 2] == -.infinity)
    #expect(square[row.firstIndex(of: 1e20) ?? 0] == .infinity)
  }

  @Test func reshapeAddsNoStep() throws {
    let node = try OneNode(
      Reshape(shape: [6]), inputs: [ValueType(.float32, [2, 3])], output: ValueType(.float32, [6]))
    #expect(node.plan.steps.map(\.kernel) == ["select"])
  }

  @Test func aResidualNetworkAgreesWithItsReference() throws {
    var definition = ModelFixtures.mlp(widths: [8, 16, 16, 3], precision: .float32, activation: .gelu, seed: 4)
    // hidden2 + hidden1 goes into the last layer.
    definition.graph.values.append(.init(name: "sum", columns: 16))
    let sum = definition.graph.values.count - 1
    definition.graph.nodes.insert(
      Node(name: "residual", inputs: [1, 2], outputs: [sum], operation: Add()), at: 2)
    definition.graph.nodes[3].inputs = [sum]
    let plan = try Plan(definition)
    let rows = randomRows(7, columns: 8, seed: 5)
    let found = plan.outputs(of: rows)[0]
    for (index, row) in rows.enumerated() {
      let expected = definition.graph.reference(row.map { Double($0) })[4]
      for column in 0..<3 { #expect(abs(Double(found[3 * index + column]) - expected[column]) < 2e-6) }
    }
  }

  // MARK: - f64

  @Test func aTimeOfTodayKeepsItsDigits() throws {
    // 1,764,187,200 s and half a second later: in fp32 both would be one number.
    let graph = ModelGraph(
      task: .regression,
      values: [.init(name: "row", type: ValueType(.float64, [1])), .init(name: "scaled", columns: 1)],
      nodes: [
        Node(
          name: "scale", input: 0, output: 1,
          operation: Affine(scaling: .standardise, offset: [1_764_187_136], scale: [1]))
      ],
      outputs: [.init(name: "scaled", value: 1, kind: .number)], tensors: [])
    let schema = FeatureSchema(features: [Feature(name: "time", kind: .numeric, missing: .refuse)], target: "y")
    let model = try CompiledModel(ModelDefinition(schema: schema, graph: graph, labels: []))
    let answers = try model.answers(for: [[.number(1_764_187_200)], [.number(1_764_187_200.5)]])
    #expect(answers[0].answer == .numbers([64, 64.5]))
    let request = TensorFixture().add("time", .float64, [2], [1_764_187_200, 1_764_187_200.25])
    var bound = [0.0, 0.0]
    try withExtendedLifetime(request) {
      try bound.withUnsafeMutableBytes { room in
        try model.binder.bind(request.tensors, rows: 0..<2, into: try #require(room.baseAddress))
      }
    }
    #expect(bound == [1_764_187_200, 1_764_187_200.25])
  }

  @Test func preprocessingInF64FillsAndEncodes() throws {
    let graph = ModelGraph(
      task: .regression,
      values: [
        .init(name: "row", type: ValueType(.float64, [3])), .init(name: "filled", type: ValueType(.float64, [3])),
        .init(name: "encoded", type: ValueType(.float64, [5])), .init(name: "scaled", columns: 5),
      ],
      nodes: [
        Node(name: "impute", input: 0, output: 1, operation: Impute(fill: [1, 2, 0])),
        Node(name: "one-hot", input: 1, output: 2, operation: OneHot(widths: [0, 0, 3])),
        Node(
          name: "scale", input: 2, output: 3,
          operation: Affine(scaling: .minMax, offset: [0, 0, 0, 0, 0], scale: [2, 1, 1, 1, 1])),
      ],
      outputs: [.init(name: "y", value: 3, kind: .number)], tensors: [])
    let plan = try Plan(graph)
    let workspace = try Workspace(plan)
    for (index, x) in [0.5, .nan, 2, .nan, 7, 9].enumerated() {
      workspace.input.storeBytes(of: x, toByteOffset: 8 * index, as: Double.self)
    }
    plan.run(workspace, rows: 2)
    #expect(
      Array(UnsafeBufferPointer(start: workspace.output(0), count: 10)) == [1, 2, 0, 0, 1, 2, 7, 0, 0, 0])
  }

  // MARK: - units

  @Test func valuesPerTokenAreComputedAsOftenAsThereAreUnits() throws {
    var graph = ModelFixtures.mlp(widths: [6, 40, 5], precision: .int8, seed: 9).graph
    for index in graph.values.indices { graph.values[index].type.domain = .token }
    graph.outputs = [.init(name: "probabilities", value: 3, kind: .number)]
    var options = PlanOptions()
    options.extentMax = BatchExtent(rows: 4, units: 100)
    let perToken = try Plan(graph, options: options)
    let perRow = try Plan(ModelFixtures.mlp(widths: [6, 40, 5], precision: .int8, seed: 9), rowsMax: 100)
    let tokens = randomRows(77, columns: 6, seed: 3)
    let workspace = try Workspace(perToken)
    for (token, cells) in tokens.enumerated() { workspace.fill(row: token, with: cells) }
    perToken.run(workspace, BatchExtent(rows: 3, units: 77))
    let found = Array(UnsafeBufferPointer(start: workspace.output(0), count: 77 * 5))
    #expect(bits(found) == bits(perRow.outputs(of: tokens)[0]))
  }

  @Test func scratchGrowsWithTheUnitsOfAPlan() throws {
    var graph = ModelFixtures.mlp(widths: [6, 40, 5]).graph
    for index in graph.values.indices { graph.values[index].type.domain = .token }
    func bytes(_ extent: BatchExtent) throws -> Int {
      var options = PlanOptions()
      options.extentMax = extent
      return try Plan(graph, options: options).workspaceBytes
    }
    #expect(try bytes(BatchExtent(rows: 1, units: 1000)) > 90 * bytes(BatchExtent(rows: 1, units: 10)))
    // A row has the number of its first token.
    let perRow = try bytes(BatchExtent(rows: 1000, units: 10)) - bytes(BatchExtent(rows: 1, units: 10))
    #expect((4 * 999 - 64...4 * 999 + 64).contains(perRow))
  }

  // MARK: - tensors

  @Test func halvesAreWidenedExactly() {
    for bits in UInt16.min...UInt16.max {
      let tensor = WeightTensor(name: "w", shape: [1], storage: .float16([bits]))
      let exponent = Int(bits >> 10 & 31)
      let fraction = Double(bits & 1023)
      var expected = exponent == 0 ? fraction * pow(2, -24) : (1024 + fraction) * pow(2, Double(exponent - 25))
      if exponent == 31 { expected = fraction == 0 ? .infinity : .nan }
      if bits >= 0x8000 { expected = -expected }
      let found = Double(tensor.floats?.first ?? 0)
      if found != expected, !(found.isNaN && expected.isNaN) {
        Issue.record("\(bits): expected \(expected), found \(found)")
        return
      }
    }
  }

  @Test func aLayerOfHalvesComputesWhatItsFp32TwinDoes() throws {
    var halves = ModelFixtures.linearRegression(weights: [2, -3, 0.5], bias: 1)
    let twin = halves
    // 2, −3 and 0.5 as binary16.
    halves.graph.tensors[0].storage = .float16([0x4000, 0xc200, 0x3800])
    let rows = randomRows(9, columns: 3, seed: 1)
    #expect(bits(try Plan(halves).outputs(of: rows)[0]) == bits(try Plan(twin).outputs(of: rows)[0]))
  }
}
