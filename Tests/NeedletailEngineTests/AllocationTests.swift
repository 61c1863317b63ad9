import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

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
      let workspace = Workspace(plan)
      let count = Allocations.during { for rows in 1...64 { plan.run(workspace, rows: rows) } }
      #expect(count == 0)
    }
  }

  @Test(arguments: [ModelFixtures.Precision.float32, .int8])
  func aSharedRunAllocatesNothingOnAnyThread(precision: ModelFixtures.Precision) throws {
    SharedPool.start()
    let plan = try Plan(ModelFixtures.mlp(widths: [128, 512, 512, 10], precision: precision))
    let workspace = Workspace(plan)
    plan.run(workspace, rows: 64)
    let before = EnginePool.sharedLayers
    let count = Allocations.during { for _ in 0..<50 { plan.run(workspace, rows: 64) } }
    #expect(EnginePool.sharedLayers > before)
    #expect(count == 0)
  }
}
