import NeedletailBLAS
import NeedletailCore
import NeedletailTestSupport
import Testing

@testable import NeedletailEngine

/// Plans that may round: fp32 layers with weights of bf16, and OpenBLAS.
@Suite("Relaxed plans") struct RelaxedPlanTests {
  private static let columns = 600

  /// One layer of 1.4 MB, so that it is kept as bf16 too.
  private static let model = ModelFixtures.mlp(widths: [columns, columns, 3], seed: 11)

  private func relaxed(_ isa: InstructionSet?) throws -> Plan {
    var options = PlanOptions()
    options.isa = isa
    options.relaxed = BLAS.product
    options.rowsMax = 64
    return try Plan(Self.model.graph, options: options)
  }

  /// Has every layer computed by one way, whatever it takes.
  private func choose(_ way: Int, in plan: Plan) throws {
    for _ in 0..<2 {
      try plan.kernelChoice.decide(rowsMax: 64) { layer, timed, _ in timed == min(way, layer.wayCount - 1) ? 1 : 2 }
    }
  }

  @Test(arguments: InstructionSet.supported)
  func everyWayIsAsNearAsEightBitsOfMantissaAllow(isa: InstructionSet) throws {
    let (plan, exact) = try (relaxed(isa), Plan(Self.model, isa: isa))
    #expect(plan.mayRound && plan.precision == "bf16" && !exact.mayRound && exact.precision == "fp32")
    let inputs = randomRows(33, columns: Self.columns, seed: 3)
    let expected = exact.outputs(of: inputs)[0]
    for way in 0..<4 {
      try choose(way, in: plan)
      let found = plan.outputs(of: inputs)[0]
      let norm = zip(expected, found).reduce(0.0) { $0 + Double($1.0) * Double($1.0) }.squareRoot()
      let error = zip(expected, found).reduce(0.0) { $0 + Double($1.0 - $1.1) * Double($1.0 - $1.1) }.squareRoot()
      #expect(error <= 0.01 * norm, "\(isa), way \(way): \(error) of \(norm)")
      if way == 0 { #expect(bits(found) == bits(expected), "the exact way") }
    }
  }

  @Test func weightsOfBF16GiveTheSameBitsOnEveryInstructionSetAndInEveryBatch() throws {
    let inputs = randomRows(20, columns: Self.columns, seed: 5)
    var all: [[UInt32]] = []
    for isa in InstructionSet.supported where isa != .amx {
      let plan = try relaxed(isa)
      try choose(1, in: plan)
      let together = bits(plan.outputs(of: inputs)[0])
      #expect(together == bits(inputs.flatMap { plan.outputs(of: [$0])[0] }), "\(isa)")
      all.append(together)
    }
    #expect(all.allSatisfy { $0 == all[0] })
  }

  @Test func smallLayersStayExact() throws {
    var options = PlanOptions()
    options.relaxed = BLAS.product
    let small = ModelFixtures.mlp(widths: [20, 30, 3])
    let plan = try Plan(small.graph, options: options)
    #expect(!plan.mayRound && !plan.hasKernelChoices && plan.precision == "fp32")
    let inputs = randomRows(5, columns: 20, seed: 1)
    #expect(bits(plan.outputs(of: inputs)[0]) == bits(try Plan(small).outputs(of: inputs)[0]))
  }

  @Test func roundingMustBuyAFifthOfTheTime() {
    var choice = WayChoice()
    choice.decide([10, 8.5], part: WayChoice.worthRoundingPart)
    #expect(choice.way == 0)
    choice.decide([10, 7.5], part: WayChoice.worthRoundingPart)
    #expect(choice.way == 1)
  }
}
