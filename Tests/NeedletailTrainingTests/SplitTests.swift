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

  @Test func refusesAPartWithoutRows() throws {
    let error = #expect(throws: TrainingError.self) {
      try Split.make(rowCount: 3, strata: [], fractions: (0.9, 0.05, 0.05), seed: 1)
    }
    #expect(error?.message.hasPrefix("split.validation: expected at least one row, found none of 3") == true)
  }
}
