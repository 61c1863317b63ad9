import NeedletailEngine
import NeedletailTestSupport
import Testing

@testable import NeedletailTraining

@Suite struct MixtureTests {
  @Test func aMixtureTakesWhatImprovesItAndWeighsItByHowOften() {
    let truth: [Float] = [0, 0, 0, 0]
    let answers: [[Float]] = [[1, 1, 1, 1], [-2, -2, -2, -2], [9, 9, 9, 9]]
    func loss(_ mixed: [Float]) -> Double { zip(mixed, truth).reduce(0) { $0 + Double(abs($1.0 - $1.1)) } }
    let mixture = Mixture.choose(answers, membersMax: 3, loss: loss)
    #expect(mixture.members.map(\.candidate) == [0, 1])
    #expect(abs(mixture.members[0].weight - 2.0 / 3) < 1e-9 && mixture.loss < 1e-6)
    #expect(Mixture.choose(answers, membersMax: 1, loss: loss).members == [.init(candidate: 0, weight: 1)])
    #expect(mixture.withoutLightest().members == [.init(candidate: 0, weight: 1)])
  }

  @Test func aMixtureOfTreesAndALinearModelAnswersTheirWeightedMean() throws {
    let directory = try TemporaryDirectory()
    try directory.write(Synthetic.classesCSV(rows: 240, seed: 3), to: "data.csv")
    let source = RunFileText(text: TuningTests.run, file: "run.yaml", directory: directory.path, sets: [])
    let own = try source.configuration()
    let table = SearchTable(task: .classification, classes: 2, rows: 168, columns: 3, hasCategories: true)
    let arms = try ["gbdt", "logistic_regression"].map { name in
      try TuningArm(FamilyRegistry.all.named(name)!, source, own: own, table: table)
    }
    let datas = try arms.map { try PreparedData($0.configuration) }
    let models = try zip(arms, datas).map { arm, data in
      try arm.family.fit(data, try arm.configuration(of: arm.arm.start!)) { _ in }
    }
    let cells = datas[0].cells(datas[0].split.test)
    let alone = try zip(datas, models).map { try TrialRunner.answers(TrialRunner.compile($0, $1), cells) }
    let mixed = MixedModel(
      members: zip(arms, zip(datas, models)).enumerated().map { index, part in
        .init(
          model: part.1.1, weight: [0.25, 0.75][index], preprocessing: part.1.0.preprocessing,
          takesFloat32: part.0.family.preprocessing.element == .float32, arm: index, name: part.0.family.name)
      }, arm: 0, classCount: 2)
    let found = try TrialRunner.answers(TrialRunner.compile(datas[0], mixed), cells)
    let expected = zip(alone[0], alone[1]).map { 0.25 * $0 + 0.75 * $1 }
    #expect(zip(found, expected).allSatisfy { abs($0 - $1) < 1e-6 })
    #expect(found.count == 2 * cells.count)
  }

  @Test func aMemberOfAMixtureOfNumbersIsHeldToTheRangeOfTheTargets() throws {
    let directory = try TemporaryDirectory()
    // y = 2x for x from 0 to 19, and one row far outside, which the line follows to 2000.
    let lines = (0..<20).map { "\($0),\(2 * $0),train" } + ["3,6,validation", "1000,38,test"]
    try directory.write("x,y,part\n" + lines.joined(separator: "\n") + "\n", to: "line.csv")
    let run = """
      data: { files: [line.csv] }
      features: { columns: { x: { type: numeric } } }
      target: { column: "y", task: regression }
      split: { column: part }
      model: { family: linear_regression }
      """
    let source = RunFileText(text: run, file: "run.yaml", directory: directory.path, sets: [])
    let own = try source.configuration()
    let plan = try TuningPlan(source, own, TuningSettings(own, seconds: 1))
    #expect(plan.answerRange == 0...38)
    let data = try PreparedData(own)
    let model = try own.family.fit(data, own) { _ in }
    func answer(_ range: ClosedRange<Float>?) throws -> Float {
      let member = MixedModel.Member(
        model: model, weight: 1, preprocessing: data.preprocessing, takesFloat32: true, arm: 0, name: "line")
      let mixed = MixedModel(members: [member], arm: 0, classCount: 0, range: range)
      return try TrialRunner.answers(TrialRunner.compile(data, mixed), data.cells(data.split.test))[0]
    }
    #expect(try abs(answer(nil) - 2000) < 5)
    #expect(try answer(plan.answerRange) == 38)
  }
}
