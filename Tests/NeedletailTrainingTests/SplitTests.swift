import NeedletailTestSupport
import Testing

@testable import NeedletailTraining

@Suite struct SplitTests {
  @Test(arguments: [(10, 1), (101, 2), (1000, 3), (37, 7)])
  func everyRowGoesIntoExactlyOnePart(rows: Int, classes: Int) throws {
    let strata = (0..<rows).map { $0 % classes }
    for strata in [strata, []] {
      let split = try Split.make(rowCount: rows, strata: strata, fractions: (0.7, 0.15, 0.15), seed: 4)
      #expect((split.train + split.validation + split.test).sorted() == Array(0..<rows))
      #expect(abs(Double(split.test.count) - 0.15 * Double(rows)) <= 1)
      #expect(abs(Double(split.validation.count) - 0.15 * Double(rows)) <= 1)
    }
  }

  @Test func everyClassIsCutByTheSameFractions() throws {
    let strata = (0..<1000).map { $0 < 900 ? 0 : 1 }
    let split = try Split.make(rowCount: 1000, strata: strata, fractions: (0.6, 0.2, 0.2), seed: 1)
    #expect(split.test.count { strata[$0] == 1 } == 20)
    #expect(split.validation.count { strata[$0] == 1 } == 20)
    #expect(split.train.count { strata[$0] == 1 } == 60)
  }

  @Test func aClassOfOneRowIsUsedForTraining() throws {
    let strata = [1] + [Int](repeating: 0, count: 30)
    for seed in 0..<20 as Range<UInt64> {
      let split = try Split.make(rowCount: 31, strata: strata, fractions: (0.4, 0.3, 0.3), seed: seed)
      #expect(split.train.contains(0))
    }
  }

  @Test func theSeedDeterminesTheSplit() throws {
    func split(_ seed: UInt64) throws -> Split {
      try Split.make(rowCount: 200, strata: [], fractions: (0.5, 0.25, 0.25), seed: seed)
    }
    #expect(try split(1) == split(1))
    #expect(try split(1) != split(2))
  }

  @Test func aSplitByTimeTestsOnTheLatestRowsAndKeepsOneTimeTogether() throws {
    let times = (0..<100).map { Double((99 - $0) / 3) }
    let split = try Split.make(times: times, fractions: (0.7, 0.15, 0.15))
    let (train, validation, test) = (
      split.train.map { times[$0] }, split.validation.map { times[$0] }, split.test.map { times[$0] }
    )
    #expect(train.max()! < validation.min()! && validation.max()! < test.min()!)
    #expect(abs(train.count - 70) <= 1 && abs(test.count - 15) <= 1)
    #expect((split.train + split.validation + split.test).sorted() == Array(0..<100))
    let error = #expect(throws: TrainingError.self) {
      try Split.make(times: [1, 1, 1, 1], fractions: (0.5, 0, 0.5))
    }
    #expect(error?.kind == .data)
  }

  @Test func aSplitMayStandInTheTableAndTimeMayBeAFeature() throws {
    let directory = try TemporaryDirectory()
    let rows = (0..<60).map { "2024-01-\($0 % 28 + 1),\(["Train", "test", "val"][$0 % 3]),\($0)\n" }
    try directory.write("day,part,y\n" + rows.joined(), to: "data.csv")
    func data(_ split: String) throws -> PreparedData {
      try PreparedData(
        RunConfiguration(
          yaml: "data: { files: [data.csv] }\ntarget: { column: y, task: regression }\n"
            + "model: { family: linear_regression }\nsplit: { \(split) }\nfeatures: { unknown: zeros }",
          file: "run.yaml", directory: directory.path))
    }
    let own = try data("column: part")
    #expect(own.split.train == stride(from: 0, to: 60, by: 3).map { $0 })
    #expect(own.split.test == stride(from: 1, to: 60, by: 3).map { $0 })
    #expect(own.dataset.features.columns.map(\.name) == ["day"])
    let byTime = try data("time: day")
    #expect(byTime.dataset.features.columns.map(\.name) == ["day", "part"])
    #expect(byTime.split.test.allSatisfy { $0 % 28 + 1 > 20 })
    let both = #expect(throws: TrainingError.self) { try data("time: day, column: part") }
    #expect(both?.message.hasSuffix("split.column: expected no split.time beside it, found one") == true)
    let words = #expect(throws: TrainingError.self) { try data("time: part") }
    #expect(words?.message.contains("split.time: expected a column of dates or numbers, found categories") == true)
    let other = #expect(throws: TrainingError.self) { try data("column: day") }
    #expect(
      other?.message == "split.column: expected train, validation or test, found \"2024-01-1\" in row 1")
  }

  @Test func refusesAPartWithoutRows() throws {
    let error = #expect(throws: TrainingError.self) {
      try Split.make(rowCount: 3, strata: [], fractions: (0.9, 0.05, 0.05), seed: 1)
    }
    #expect(error?.message.hasPrefix("split.validation: expected at least one row, found none of 3") == true)
  }
}
