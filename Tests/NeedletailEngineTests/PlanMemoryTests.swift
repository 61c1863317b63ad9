import CNeedletailKernels
import Foundation
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

@Suite struct PlanSlabTests {
  private func storage(_ most: Int, certain: Int) -> PlanStorage {
    let storage = PlanStorage()
    storage.reserve(most: most, certain: certain)
    return storage
  }

  @Test func blocksOfOnePlanLieOneBehindTheOtherOnABoundaryOfALargePage() throws {
    let storage = storage(10 << 20, certain: 6 << 20)
    let first = try storage.allocate(bytes: 3 << 20, for: nil)
    let second = try storage.allocate(bytes: 100, for: nil)
    let third = try storage.allocate(bytes: 5 << 20, for: nil)
    #expect(Int(bitPattern: first) % (2 << 20) == 0)
    #expect(second == first + (3 << 20) && third == second + 128)
    #expect(storage.bytes == (8 << 20) + 128)
    for block in [first, second, third] { #expect(storage.isInSlab(block)) }
    #expect((0..<5 << 20).allSatisfy { third.load(fromByteOffset: $0, as: UInt8.self) == 0 })
    third.storeBytes(of: 7, toByteOffset: (5 << 20) - 1, as: UInt8.self)
    storage.seal()
    #expect(third.load(fromByteOffset: (5 << 20) - 1, as: UInt8.self) == 7)
  }

  @Test func whatDoesNotFitTheSlabIsABlockOfItsOwn() throws {
    let storage = storage(1 << 20, certain: 0)
    let inside = try storage.allocate(bytes: 1 << 19, for: nil)
    let outside = try storage.allocate(bytes: 1 << 20, for: nil)
    #expect(storage.isInSlab(inside) && !storage.isInSlab(outside))
    #expect(storage.bytes == (1 << 20) + (1 << 19))
    storage.seal()
    let later = try storage.allocate(bytes: 1 << 16, for: nil)
    #expect(!storage.isInSlab(later))
  }

  @Test func aSmallPlanTakesNoSlab() throws {
    let storage = storage(1000, certain: 0)
    #expect(!storage.isInSlab(try storage.allocate(bytes: 64, for: nil)))
  }
}

@Suite struct LayerSharingTests {
  @Test(
    arguments: [
      (0, 0, 0, nil), (10, 1, 0, nil), (200, 10, 100, 1), (190, 10, 100, 2), (100, 9, 100, 13), (10, 0, 100, nil),
      (1, 0.001, 100, nil),
    ] as [(Float, Float, Float, Int?)])
  func aLayerIsSharedFromTwoPartsOn(first: Float, next: Float, part: Float, from: Int?) {
    var time = nt_dense_time(first: first, next: next, part_min: part)
    #expect(LayerTiming.sharedFromItems(time) == from)
    if let from {
      #expect(nt_dense_threads(&time, from) >= 2)
      if from > 1 { #expect(nt_dense_threads(&time, from - 1) == 1) }
    }
  }

  @Test func aFasterLayerIsSharedFromMoreRowsOn() throws {
    SharedPool.start()
    let definition = ModelFixtures.mlp(widths: [256, 512, 512, 10], precision: .float32)
    func from(_ part: Int) throws -> Int? {
      try Plan(definition, rowsMax: 256, sharedPart: part).steps.first { $0.inputColumns == 512 }?.sharedFromRows
    }
    let few = try #require(try from(1000))
    let many = try #require(try from(100_000))
    #expect(few < many)
    #expect(try from(1 << 40) == nil)
  }

  @Test func aProcessWithoutHelpersTimesNoLayer() throws {
    var options = PlanOptions()
    #expect(LayerTiming.partNanosecondsMin(options) == 0 || EnginePool.threads > 1)
    options.sharedPartNanosecondsMin = 7
    #expect(LayerTiming.partNanosecondsMin(options) == 7)
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
    let plan = try Plan(ModelFixtures.mlp(widths: [128, 512, 512, 10], precision: precision), sharedPart: 1000)
    let workspace = try Workspace(plan)
    plan.run(workspace, rows: 64)
    let before = EnginePool.sharedLayers
    let count = Allocations.during { for _ in 0..<50 { plan.run(workspace, rows: 64) } }
    #expect(EnginePool.sharedLayers > before)
    #expect(count == 0)
  }
}
