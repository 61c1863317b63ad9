import Foundation
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Synchronization
import Testing

/// Two threads for all tests: the first call decides for the process.
enum SharedPool {
  static func start() { EnginePool.start(threads: 2) }
}

@Suite struct InvarianceTests {
  /// Layers of every kind of edge: fewer columns than a panel, a panel and a bit, and, from 18 rows on,
  /// work that the pool's threads share.
  @Test(
    arguments: [ModelFixtures.Precision.float32, .int8],
    [[64, 400, 300, 10], [37, 70, 13, 3], [5, 1, 17, 2]])
  func aRowAloneHasTheBitsItHasInTenThousandBatches(precision: ModelFixtures.Precision, widths: [Int]) throws {
    SharedPool.start()
    var random = SplitMix64(seed: 7)
    let rowsMax = 40
    let plan = try Plan(
      ModelFixtures.mlp(widths: widths, precision: precision, activation: .gelu, seed: 3), rowsMax: rowsMax,
      sharedPart: 1000)
    let rows = randomRows(200, columns: widths[0], seed: 8)
    let alone = rows.map { plan.outputs(of: [$0])[0] }
    let columns = plan.outputs[0].columns
    let workspace = try Workspace(plan)
    let sharedBefore = EnginePool.sharedLayers
    var differing = 0
    for _ in 0..<10_000 {
      let batch = (0..<1 + Int(random.next() % UInt64(rowsMax))).map { _ in Int(random.next() % 200) }
      for (row, source) in batch.enumerated() { workspace.fill(row: row, with: rows[source]) }
      plan.run(workspace, rows: batch.count)
      for (row, source) in batch.enumerated()
      where memcmp(workspace.output(0) + row * columns, alone[source], 4 * columns) != 0 { differing += 1 }
    }
    #expect(differing == 0)
    if widths[1] == 400 { #expect(EnginePool.sharedLayers > sharedBefore, "no layer was shared") }
  }

  @Test(arguments: [Dense.Activation.identity, .relu, .tanh, .logistic, .gelu])
  func sharedLayersHaveTheBitsOfOneThread(activation: Dense.Activation) throws {
    SharedPool.start()
    for precision in [ModelFixtures.Precision.float32, .int8] {
      let definition = ModelFixtures.mlp(
        widths: [130, 517, 1003, 33, 2], precision: precision, activation: activation, seed: 5)
      for isa in InstructionSet.supported {
        let plan = try Plan(definition, isa: isa, sharedPart: 1)
        let rows = randomRows(20, columns: 130, seed: 9)
        let alone = rows.flatMap { plan.outputs(of: [$0])[0] }
        #expect(bits(plan.outputs(of: rows)[0]) == bits(alone), "\(isa), \(precision)")
      }
    }
  }

  @Test func callersOfOnePlanDoNotAffectEachOther() throws {
    SharedPool.start()
    let plan = try Plan(ModelFixtures.mlp(widths: [64, 512, 512, 10], precision: .int8), sharedPart: 1000)
    let rows = randomRows(16, columns: 64, seed: 10)
    let expected = bits(plan.outputs(of: rows)[0])
    let differing = Counter()
    DispatchQueue.concurrentPerform(iterations: 16) { _ in
      let workspace = plan.workspace()
      for (row, cells) in rows.enumerated() { workspace.fill(row: row, with: cells) }
      for _ in 0..<50 {
        plan.run(workspace, rows: 16)
        if bits(UnsafeBufferPointer(start: workspace.output(0), count: 160)) != expected { differing.add() }
      }
    }
    #expect(differing.value == 0)
  }
}

private final class Counter: Sendable {
  private let count = Mutex(0)
  func add() { count.withLock { $0 += 1 } }
  var value: Int { count.withLock { $0 } }
}
