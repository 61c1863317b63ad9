import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@Suite struct GoldenCheckTests {
  private let regression = ModelFixtures.linearRegression(weights: [2, -3, 0.5], bias: 1)

  private func sample(
    _ expectation: GoldenSample.Expectation, cells: [Cell] = [.number(1), .number(2), .number(4)],
    tolerance: Double = 1e-6
  ) -> GoldenSample {
    GoldenSample(name: "row 17", cells: cells, expectation: expectation, tolerance: tolerance)
  }

  private func failure(_ sample: GoldenSample, on definition: ModelDefinition) throws -> GoldenFailure? {
    let model = try CompiledModel(definition)
    do {
      try GoldenCheck.run([sample], on: model)
      return nil
    } catch { return error }
  }

  @Test func aRightAnswerPasses() throws {
    #expect(try failure(sample(.answers([("prediction", .numbers([-1]))])), on: regression) == nil)
  }

  @Test func aWrongAnswerFailsWithBothNumbers() throws {
    let found = try failure(sample(.answers([("prediction", .numbers([-1.5]))])), on: regression)
    #expect(
      found?.description
        == "golden sample \"row 17\", output \"prediction\": expected -1.5 ± 1e-06 relative in column 0, found -1.0")
  }

  @Test func numericsOfTheSameRevisionMustGiveEveryBitAgain() throws {
    let above = (-1.0).nextUp
    for (numerics, answer, passes) in [
      (Numerics.revision, -1, true), (Numerics.revision, Double(Float(-1).nextUp), false),
      (Numerics.revision, above, false),
      (Numerics.revision + 1, Double(Float(-1).nextUp), true), (0, above, true), (0, -1.01, false),
    ] as [(UInt32, Double, Bool)] {
      var recorded = sample(.answers([("prediction", .numbers([answer]))]))
      recorded.numerics = numerics
      let found = try failure(recorded, on: regression)
      #expect((found == nil) == passes, "numerics \(numerics), recorded \(answer)")
      if numerics == Numerics.revision, !passes {
        #expect(found?.expected == "exactly \(answer) in column 0, as numerics 2 computed it")
      }
    }
  }

  @Test(arguments: InstructionSet.supported)
  func everyInstructionSetGivesTheBitsThatAnotherRecorded(isa: InstructionSet) throws {
    for precision in [ModelFixtures.Precision.float32, .int8] {
      let definition = ModelFixtures.mlp(widths: [13, 40, 24, 3], precision: precision, activation: .gelu, seed: 4)
      var random = SplitMix64(seed: 5)
      let recorder = try CompiledModel(definition)
      let samples = try (0..<20).map { row in
        let cells = (0..<13).map { _ in Cell.number(Double(random.nextFloat())) }
        return GoldenSample(
          name: "row \(row)", cells: cells, expectation: .answers(try recorder.answers(for: [cells])), tolerance: 0,
          numerics: Numerics.revision)
      }
      var options = PlanOptions()
      options.isa = isa
      try GoldenCheck.run(samples, on: CompiledModel(definition, options: options))
    }
  }

  @Test func theToleranceIsRelativeAboveOne() throws {
    #expect(
      try failure(sample(.answers([("prediction", .numbers([-1.01]))]), tolerance: 0.01), on: regression) == nil)
    #expect(
      try failure(sample(.answers([("prediction", .numbers([-1.02]))]), tolerance: 0.01), on: regression) != nil)
  }

  @Test func refusalsMustBeRefusedWithTheirCode() throws {
    let missing: [Cell] = [.missing, .number(2), .number(4)]
    #expect(try failure(sample(.refusal(.invalidArgument), cells: missing), on: regression) == nil)
    #expect(try failure(sample(.refusal(.notFound), cells: missing), on: regression)?.expected == "refusal NOT_FOUND")
    #expect(try failure(sample(.refusal(.invalidArgument)), on: regression)?.found == "an answer")
    #expect(
      try failure(sample(.answers([("prediction", .numbers([0]))]), cells: missing), on: regression)?.expected
        == "an answer")
  }

  @Test func classesAndLabelsMustBeEqual() throws {
    let definition = ModelFixtures.logistic()
    let cells: [Cell] = [.number(60), .number(80), .text("blue")]
    let model = try CompiledModel(definition)
    let answers = try model.answers(for: [cells])
    guard case .strings(let labels) = answers[2].answer, case .numbers(let classes) = answers[1].answer else {
      Issue.record("expected a class and a label, found \(answers)")
      return
    }
    let other = labels[0] == "yes" ? "no" : "yes"
    #expect(
      try failure(sample(.answers([("label", .strings(labels))]), cells: cells, tolerance: 9), on: definition) == nil)
    #expect(
      try failure(sample(.answers([("label", .strings([other]))]), cells: cells, tolerance: 9), on: definition) != nil)
    let wrongClass: [Double] = [1 - classes[0]]
    #expect(
      try failure(sample(.answers([("class", .numbers(wrongClass))]), cells: cells, tolerance: 9), on: definition)
        != nil)
  }

  @Test func samplesWithoutExpectedOutputsFail() throws {
    #expect(try failure(sample(.answers([])), on: regression) != nil)
    #expect(
      try failure(sample(.answers([("prediction", .numbers([7]))]), tolerance: .infinity), on: regression) != nil)
    #expect(try failure(sample(.answers([("prediction", .numbers([7]))]), tolerance: .nan), on: regression) != nil)
    #expect(try failure(sample(.answers([("other", .numbers([7]))])), on: regression)?.found == "none")
    #expect(try failure(sample(.answers([("prediction", .numbers([]))])), on: regression)?.expected == "0 numbers")
    #expect(try failure(sample(.answers([("prediction", .strings(["a"]))])), on: regression)?.found == "numbers")
  }
}

@Suite struct CompiledModelTests {
  @Test func rowsBeyondOneRunAreAnsweredInChunks() throws {
    var options = PlanOptions()
    options.rowsMax = 4
    let model = try CompiledModel(ModelFixtures.linearRegression(weights: [1], bias: 0), options: options)
    let answers = try model.answers(for: (0..<11).map { [.number(Double($0))] })
    #expect(answers[0].answer == .numbers((0..<11).map { Double($0) }))
  }

  @Test func aRowThatCannotBeBoundIsNamed() throws {
    let model = try CompiledModel(ModelFixtures.constant(7))
    let error = #expect(throws: ServingError.self) { try model.answers(for: [[.number(1)], [.text("abc")]]) }
    #expect(error?.message == "feature \"x\", row 1: expected a number, found \"abc\"")
  }

  @Test func canonicalWeightsAreNotKept() throws {
    let model = try CompiledModel(ModelFixtures.constant(7))
    #expect(model.definition.graph.tensors.isEmpty)
    #expect(try model.answers(for: [[.number(3)]])[0].answer == .numbers([7]))
  }
}
