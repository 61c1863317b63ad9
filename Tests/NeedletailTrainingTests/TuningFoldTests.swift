import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@testable import NeedletailTraining

/// Rows by which a search judges its models.
@Suite struct TuningFoldTests {
  private let directory: TemporaryDirectory

  init() throws {
    directory = try TemporaryDirectory()
    var random = RandomSource(seed: 8)
    var csv = "at,x,city,shop,kind\n"
    for row in 0..<300 {
      let city = random.index(below: 25)
      let kind = Double(city % 2) + random.normal() * 0.7 > 0.5 ? "yes" : "no"
      csv += "\(row * 7919 % 1009),\(random.normal()),city \(city),shop \(row % 40),\(kind)\n"
    }
    try directory.write(csv, to: "data.csv")
  }

  private func source(_ sections: String) -> RunFileText {
    RunFileText(
      text: (sections.hasPrefix("data:") ? "" : "data: { files: [data.csv] }\n")
        + "model: { family: logistic_regression }\n\(sections)\n", file: "run.yaml",
      directory: directory.path, sets: [])
  }

  private func plan(_ sections: String) throws -> TuningPlan {
    let source = source(sections)
    let configuration = try source.configuration()
    return try TuningPlan(source, configuration, TuningSettings(configuration))
  }

  private static let unknown = "features: { unknown: zeros }\n"

  @Test func foldsOfASplitByTimeLearnFromWhatCameBefore() throws {
    let plan = try plan(
      Self.unknown + "target: { column: kind }\nsplit: { time: at }\ntuning: { folds: 3, preset: quick }")
    #expect(plan.folds.count == 3 && plan.isInOrderOfTime)
    let times = plan.dataset.times
    for fold in plan.folds {
      let last = try #require(fold.train.map { times[$0] }.max())
      #expect(fold.validation.allSatisfy { times[$0] >= last } && !fold.validation.isEmpty)
    }
    #expect(plan.folds[0].train.count < plan.folds[2].train.count)
  }

  @Test func foldsKeepTheRowsOfAGroupTogether() throws {
    let plan = try plan(
      Self.unknown + "target: { column: kind, group: shop }\ntuning: { folds: 4, preset: quick }")
    let groups = plan.dataset.groups
    for fold in plan.folds {
      #expect(Set(fold.train.map { groups[$0] }).isDisjoint(with: fold.validation.map { groups[$0] }))
    }
    #expect(plan.folds.flatMap(\.validation).sorted() == (plan.split.train + plan.split.validation).sorted())
  }

  @Test func foldsOfClassesAreStratified() throws {
    let plan = try plan(Self.unknown + "target: { column: kind }\ntuning: { folds: 5, preset: quick }")
    let shares = plan.folds.map { fold in
      fold.validation.reduce(0) { $0 + plan.targets[$1] } / Double(fold.validation.count)
    }
    #expect((shares.max() ?? 1) - (shares.min() ?? 0) < 0.03)
  }

  @Test func tooManyFoldsAreRefusedByTheNameOfTheSetting() {
    let error = #expect(throws: TrainingError.self) {
      try plan(
        "data: { files: [data.csv], drop: [shop] }\ntarget: { column: kind, group: city }\n"
          + "split: { train: 0.3, validation: 0.1, test: 0.6 }\ntuning: { folds: 20, preset: quick }")
    }
    #expect(error?.message.contains("tuning.folds: expected") == true)
  }

  @Test func aFoldEncodesCategoriesWithoutTheTargetsOfTheRowsThatJudge() throws {
    let sections =
      "target: { column: kind }\n"
      + "features: { unknown: zeros, columns: { city: { encoding: target, scale: none }, shop: { encoding: ordinal } } }\n"
      + "tuning: { folds: 3, trials: 3, seconds: 60, families: [logistic_regression, gbdt], mixture: 3, pruner: none }"
    let plan = try plan(sections)
    let runner = TrialRunner(plan, threads: 1)
    let settings = plan.arms[0].configuration
    let whole = try runner.prepare(arm: 0, fold: nil, settings).data
    let rows = try runner.prepare(arm: 0, fold: 0, settings).data
    let place = try #require(whole.preprocessing.sources.firstIndex { $0.name == "city" })
    func encodings(_ data: PreparedData) throws -> [Float] {
      let matrix = try data.preprocessing.transform(data.dataset.features, rows: Array(0..<300))
      return (0..<300).map { matrix[$0, place] }
    }
    #expect(try encodings(rows) != encodings(whole))
    // Each fold's models answer with their own encodings, also together in one graph.
    let tuning = try TuningRun(source(sections), place: .memory)
    try tuning.search()
    let tuned = try tuning.finish()
    let version = try #require(ModelVersion(1))
    #expect(try !tuned.model.encode(version: version, signing: []).isEmpty)
  }
}
