import NeedletailCore
import NeedletailTestSupport
import Testing

@testable import NeedletailEngine

/// Bounds of the memory that a plan takes, however small the graph that asks for it.
@Suite struct PlanMemoryTests {
  @Test func scratchBeyondTheLimitIsRefused() throws {
    let columns = Limits.columnsMax
    let graph = ModelGraph(
      task: .regression, values: [.init(name: "row", columns: 1), .init(name: "wide", columns: columns)],
      nodes: [Node(name: "one-hot", input: 0, output: 1, operation: OneHot(widths: [columns]))],
      outputs: [.init(name: "wide", value: 1, kind: .number)], tensors: [])
    var options = PlanOptions()
    options.rowsMax = 4096
    let error = #expect(throws: PlanError.self) { try Plan(graph, options: options) }
    #expect(error?.message.contains("bytes of scratch for 4096 rows") == true)
  }

  @Test func weightsBeyondTheLimitAreRefusedBeforeAnyIsAllocated() throws {
    // A layer of one column packs as sixteen: 64 MiB each, of 4 MiB that all share.
    let columns = Limits.columnsMax
    var values = [ModelGraph.Value(name: "row", columns: 1)]
    var nodes: [Node] = []
    for layer in 1...130 {
      let wide = values.count
      values += [.init(name: "wide\(layer)", columns: columns), .init(name: "narrow\(layer)", columns: 1)]
      nodes.append(Node(name: "encode\(layer)", input: wide - 1, output: wide, operation: OneHot(widths: [columns])))
      nodes.append(
        Node(
          name: "layer\(layer)", input: wide, output: wide + 1,
          operation: Dense(weights: 0, bias: nil, activation: .identity)))
    }
    let graph = ModelGraph(
      task: .regression, values: values, nodes: nodes,
      outputs: [.init(name: "y", value: values.count - 1, kind: .number)],
      tensors: [
        WeightTensor(name: "w", shape: [1, columns], storage: .float32(Array(repeating: 1, count: columns)))
      ])
    let error = #expect(throws: PlanError.self) { try Plan(graph) }
    #expect(error?.node == "layer128")
    let limit = "packed weights and tables up to here: expected at most \(Limits.planBytesMax) bytes"
    #expect(error?.message.contains(limit) == true)
  }

  @Test func aScalarBoundOfAClipTakesNoMemoryForEachColumn() throws {
    let columns = Limits.columnsMax
    var values = [ModelGraph.Value(name: "row", columns: 1), .init(name: "wide", columns: columns)]
    var nodes = [Node(name: "one-hot", input: 0, output: 1, operation: OneHot(widths: [columns]))]
    for clip in 0..<8 {
      values.append(.init(name: "clipped\(clip)", columns: columns))
      nodes.append(
        Node(name: "clip\(clip)", input: values.count - 2, output: values.count - 1, operation: Clip(high: [0.5])))
    }
    let graph = ModelGraph(
      task: .regression, values: values, nodes: nodes,
      outputs: [.init(name: "y", value: values.count - 1, kind: .number)], tensors: [])
    var options = PlanOptions()
    options.rowsMax = 1
    #expect(try Plan(graph, options: options).residentBytes < 64 << 10)
  }

  /// Operations without a matrix product, each with tables for 10,000 columns.
  static let tables: [any GraphOperation] = {
    let numbers = [Float](repeating: 1, count: 10_000)
    return [
      Clip(low: numbers, high: numbers), Clip(low: [0], high: numbers), SelectColumns(columns: Array(0..<10_000)),
      Impute(fill: numbers), Affine(scaling: .standardise, offset: numbers, scale: numbers),
      OneHot(widths: Array(repeating: 1, count: 10_000)),
    ]
  }()

  @Test(arguments: tables.indices)
  func theTablesOfAnOperationCountAsPackedBytes(index: Int) throws {
    let graph = ModelGraph(
      task: .regression, values: [.init(name: "row", columns: 10_000), .init(name: "y", columns: 10_000)],
      nodes: [Node(name: "node", input: 0, output: 1, operation: Self.tables[index])],
      outputs: [.init(name: "y", value: 1, kind: .number)], tensors: [])
    let counted = Self.tables[index].packedBytes(graph.context(of: 0))
    // Beside its tables a plan of one step has the step and its parameters.
    #expect(abs(try Plan(graph).residentBytes - counted) < 4096)
    #expect(counted >= 40_000)
  }
}

@Suite struct MemoryPlannerTests {
  @Test func valuesThatLiveTogetherNeverShareBytes() {
    var random = SplitMix64(seed: 1)
    for _ in 0..<300 {
      let requests = (0..<Int(random.next() % 40)).map { _ in
        let first = Int(random.next() % 30) - 1
        return MemoryPlanner.Request(
          bytes: Int(random.next() % 5000), firstStep: first, lastStep: first + Int(random.next() % 8))
      }
      let layout = MemoryPlanner.plan(requests)
      for i in requests.indices {
        #expect(layout.offsets[i] % 64 == 0)
        #expect(layout.offsets[i] + requests[i].bytes <= layout.bytes)
        for j in 0..<i {
          let together =
            requests[i].firstStep <= requests[j].lastStep && requests[j].firstStep <= requests[i].lastStep
          let apart =
            layout.offsets[i] + requests[i].bytes <= layout.offsets[j]
            || layout.offsets[j] + requests[j].bytes <= layout.offsets[i]
          #expect(!together || apart, "\(requests[i]) and \(requests[j])")
        }
      }
    }
  }

  @Test func aChainOfValuesNeedsMemoryForTwo() {
    let requests = (0..<10).map { MemoryPlanner.Request(bytes: 640, firstStep: $0, lastStep: $0 + 1) }
    #expect(MemoryPlanner.plan(requests).bytes == 1280)
  }

  @Test func aPlanWithoutValuesNeedsNoMemory() {
    #expect(MemoryPlanner.plan([]) == .init(offsets: [], bytes: 0))
  }
}

@Suite(.enabled(if: Allocations.areCounted)) struct AllocationTests {
  @Test func allocationsAreCounted() {
    #expect(Allocations.during { UnsafeMutableRawPointer.allocate(byteCount: 8, alignment: 8).deallocate() } == 1)
  }

  @Test func aRunAllocatesNothing() throws {
    for definition in [
      ModelFixtures.logistic(), ModelFixtures.mlp(widths: [20, 30, 5]),
      ModelFixtures.mlp(widths: [20, 30, 5], precision: .int8, activation: .gelu),
    ] {
      let plan = try Plan(definition)
      let workspace = try Workspace(plan)
      let count = Allocations.during { for rows in 1...64 { plan.run(workspace, rows: rows) } }
      #expect(count == 0)
    }
  }

  @Test(arguments: [ModelFixtures.Precision.float32, .int8])
  func aSharedRunAllocatesNothingOnAnyThread(precision: ModelFixtures.Precision) throws {
    SharedPool.start()
    let plan = try Plan(ModelFixtures.mlp(widths: [128, 512, 512, 10], precision: precision))
    let workspace = try Workspace(plan)
    plan.run(workspace, rows: 64)
    let before = EnginePool.sharedLayers
    let count = Allocations.during { for _ in 0..<50 { plan.run(workspace, rows: 64) } }
    #expect(EnginePool.sharedLayers > before)
    #expect(count == 0)
  }
}
