import NeedletailCore
import NeedletailTestSupport
import Testing

@testable import NeedletailEngine

@Suite struct PlanChoiceTests {
  /// Timings for 1 and 32 rows.
  private func timings(
    _ isa: InstructionSet, _ precision: String, stored: Bool, _ one: Double, _ many: Double
  ) -> [PlanTiming] {
    zip(PlanTrial.rows, [one, many]).map { rows, microseconds in
      PlanTiming(isa: isa, precision: precision, isAsStored: stored, rows: rows, microseconds: microseconds)
    }
  }

  private var fasterInFP32: PlanChoice {
    PlanChoice(
      policy: .auto, preferred: .selected,
      timings: timings(.selected, "int8", stored: true, 10, 100)
        + timings(.selected, "fp32", stored: false, 1, 10))
  }

  @Test func storedPrecisionStaysWhateverWasMeasured() {
    let choice = PlanChoice(
      policy: .stored, preferred: .avx2,
      timings: timings(.avx2, "int8", stored: true, 10, 100) + timings(.avx2, "fp32", stored: false, 1, 10))
    #expect(!choice.dequantises)
    #expect(choice.precision == "int8")
    #expect(choice.note.contains("models.precision auto"))
  }

  @Test func autoTakesFP32WhereItIsClearlyFaster() {
    let choice = PlanChoice(
      policy: .auto, preferred: .avx2,
      timings: timings(.avx2, "int8", stored: true, 10, 100) + timings(.avx2, "fp32", stored: false, 8.9, 89))
    #expect(choice.dequantises)
    #expect(choice.precision == "fp32")
    #expect(
      choice.description
        == "fp32 on avx2: 8.9 µs for 1 row, 89.0 µs for 32 rows; int8 on avx2: 10.0 µs for 1 row, 100 µs for 32 rows")
  }

  @Test(arguments: [(9.1, 10.0), (8, 91), (11, 50), (50, 11)])
  func autoStaysWithInt8WhereFP32IsNotFasterAtEveryBatch(one: Double, many: Double) {
    let choice = PlanChoice(
      policy: .auto, preferred: .avx2,
      timings: timings(.avx2, "int8", stored: true, 10, 100) + timings(.avx2, "fp32", stored: false, one, many))
    #expect(!choice.dequantises)
  }

  @Test func theFastestInstructionSetIsTakenUnderEitherPolicy() {
    for policy in PrecisionPolicy.allCases {
      let choice = PlanChoice(
        policy: policy, preferred: .avx512vnni,
        timings: timings(.avx512vnni, "fp32", stored: true, 10, 100) + timings(.avx2, "fp32", stored: true, 8, 80))
      #expect(choice.isa == .avx2)
      #expect(!choice.dequantises)
    }
    let near = PlanChoice(
      policy: .auto, preferred: .avx512vnni,
      timings: timings(.avx512vnni, "fp32", stored: true, 10, 100) + timings(.avx2, "fp32", stored: true, 9.5, 95))
    #expect(near.isa == .avx512vnni)
  }

  @Test func aFailedChoiceFallsBackAndSaysWhy() {
    let choice = PlanChoice(
      policy: .auto, preferred: .avx2,
      timings: timings(.avx2, "int8", stored: true, 10, 100) + timings(.avx2, "fp32", stored: false, 5, 50)
    ).storedInstead(because: "golden sample \"a\"")
    #expect(!choice.dequantises)
    #expect(choice.precision == "int8")
    #expect(choice.description.hasSuffix("fp32 was faster but failed: golden sample \"a\""))
  }

  @Test func aTrialTimesEveryWayInBoundedTime() throws {
    let definition = ModelFixtures.mlp(widths: [64, 512, 512, 10], precision: .int8)
    let clock = ContinuousClock()
    var choice: PlanChoice?
    let duration = try clock.measure { choice = try PlanChoice.make(for: definition.graph, policy: .stored) }
    let timings = try #require(choice).timings
    #expect(timings.count == InstructionSet.candidates.count * 2 * PlanTrial.rows.count)
    #expect(timings.allSatisfy { $0.microseconds > 0 })
    #expect(duration < .seconds(5))
  }

  @Test func aModelWithoutDenseLayersHasNothingToTime() throws {
    let graph = ModelGraph(
      task: .regression, values: [.init(name: "row", columns: 2), .init(name: "y", columns: 2)],
      nodes: [Node(name: "sigmoid", input: 0, output: 1, operation: Sigmoid())],
      outputs: [.init(name: "y", value: 1, kind: .number)], tensors: [])
    let choice = try PlanChoice.make(for: graph, policy: .auto)
    #expect(choice.timings.isEmpty)
    #expect(choice.description.hasSuffix("no dense layers to time"))
  }

  @Test func aDequantisedModelAnswersLikeItsInt8WeightsInFP32() throws {
    let definition = ModelFixtures.mlp(widths: [20, 40, 5], precision: .int8, seed: 4)
    let model = try CompiledModel(definition, choice: fasterInFP32)
    #expect(model.plan.precision == "fp32")
    let rows = randomRows(9, columns: 20, seed: 5)
    let found = model.plan.outputs(of: rows)[0]
    for (index, row) in rows.enumerated() {
      let values = definition.graph.reference(row.map { Double($0) })
      for column in 0..<5 { #expect(abs(Double(found[index * 5 + column]) - values[3][column]) < 2e-6) }
    }
  }

  @Test func aVersionWhoseGoldenSamplesFailInFP32IsServedAsStored() throws {
    let definition = ModelFixtures.mlp(widths: [6, 12, 3], precision: .int8, seed: 4)
    let cells = (0..<6).map { Cell.number(Double($0) - 2.5) }
    let asStored = try CompiledModel(definition)
    // Only the bits of the int8 plan pass.
    let sample = GoldenSample(
      name: "exact", cells: cells, expectation: .answers(try asStored.answers(for: [cells])), tolerance: 0)
    let candidate = try CompiledModel(definition, choice: fasterInFP32)
    #expect(candidate.plan.precision == "fp32")
    #expect(throws: GoldenFailure.self) { try GoldenCheck.run([sample], on: candidate) }
    let served = try candidate.passing([sample], of: definition)
    #expect(served.plan.precision == "int8")
    #expect(served.choice?.note.contains("fp32 was faster but failed: golden sample \"exact\"") == true)

    let near = GoldenSample(name: "near", cells: cells, expectation: sample.expectation, tolerance: 0.05)
    #expect(try candidate.passing([near], of: definition) === candidate)
    let wrong = GoldenSample(name: "wrong", cells: cells, expectation: .refusal(.invalidArgument), tolerance: 0)
    #expect(throws: GoldenFailure.self) { try candidate.passing([wrong], of: definition) }
  }

  @Test func aRequestForKernelsLeavesNoOthersToTime() {
    #expect(InstructionSet.candidates.first == .selected)
    #expect(InstructionSet.candidates.allSatisfy { $0.isSupported })
  }

  @Test func int8LayersComputedInFP32MayDifferByTheTolerance() throws {
    let definition = ModelFixtures.mlp(widths: [64, 64, 3], precision: .int8)
    let cells = (0..<64).map { Cell.number(Double($0 % 7) / 5 - 0.5) }
    let answers = try CompiledModel(definition).answers(for: [cells]).filter { $0.name == "probabilities" }
    var sample = GoldenSample(
      name: "row", cells: cells, expectation: .answers(answers), tolerance: 0.05, numerics: Numerics.revision)
    let model = try CompiledModel(definition, choice: fasterInFP32)
    try GoldenCheck.run([sample], on: model)
    sample.tolerance = 0
    #expect(throws: GoldenFailure.self) { try GoldenCheck.run([sample], on: model) }
  }
}
