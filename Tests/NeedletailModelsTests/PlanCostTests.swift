import NeedletailModels
import Testing

@Suite("Plan cost")
struct PlanCostTests {
  private let cost = PlanCost([
    .init(rows: 1, nanoseconds: 1000), .init(rows: 2, nanoseconds: 900), .init(rows: 101, nanoseconds: 51_000),
  ])

  @Test func theCostIsLinearBetweenOneRowAndTheLargestBatch() {
    #expect(cost.nanoseconds(rows: 0) == 1000)
    #expect(cost.nanoseconds(rows: 1) == 1000)
    #expect(cost.nanoseconds(rows: 51) == 26_000)
    #expect(cost.nanoseconds(rows: 101) == 51_000)
  }

  @Test func theCostCountsWholeBatchesBeyondTheLargest() {
    #expect(cost.nanoseconds(rows: 202) == 102_000)
  }

  @Test func theCostIsZeroIfNothingWasMeasured() {
    #expect(PlanCost.unknown.nanoseconds(rows: 4096) == 0)
  }

  @Test func theCostNeverFallsWithMoreRows() {
    let cost = PlanCost([.init(rows: 1, nanoseconds: 500), .init(rows: 4, nanoseconds: 400)])
    #expect(cost.nanoseconds(rows: 2) == 500)
    #expect(cost.nanoseconds(rows: 4) == 500)
  }

  @Test func theCostOfAPlanOfOneRowDoesNotTrap() {
    let cost = PlanCost([.init(rows: 1, nanoseconds: 500)])
    #expect(cost.nanoseconds(rows: 3) == 1500)
  }
}
