import Testing

@testable import NeedletailTraining

/// The expected folds were written by scikit-learn 1.9: `KFold(3)`, `StratifiedKFold(3)`, `GroupKFold(3)` and
/// `TimeSeriesSplit(3)`.
@Suite struct FoldsTests {
  @Test func foldsWithoutASeedAreThoseOfKFold() throws {
    let folds = try Folds.random(rowCount: 8, count: 3, seed: nil).folds
    #expect(folds.map(\.test) == [[0, 1, 2], [3, 4, 5], [6, 7]])
    #expect(folds[1].train == [0, 1, 2, 6, 7])
  }

  @Test func everyRowJudgesOnceHoweverTheyAreShuffled() throws {
    let folds = try Folds.random(rowCount: 101, count: 5, seed: 3).folds
    #expect(folds.flatMap(\.test).sorted() == Array(0..<101))
    #expect(folds.map(\.test.count) == [21, 20, 20, 20, 20])
    for fold in folds { #expect((fold.train + fold.test).sorted() == Array(0..<101)) }
    #expect(try Folds.random(rowCount: 101, count: 5, seed: 4).folds != folds)
  }

  @Test func stratifiedFoldsAreThoseOfStratifiedKFold() throws {
    // sklearn: [t.tolist() for _, t in StratifiedKFold(3).split(y, y)]
    let strata = [1, 0, 0, 1, 0, 0, 1, 0, 0, 0]
    let folds = try Folds.stratified(strata: strata, count: 3, seed: nil).folds
    #expect(folds.map(\.test) == [[0, 1, 2, 4], [3, 5, 7], [6, 8, 9]])
  }

  @Test func everyClassIsCutAlikeHoweverItIsShuffled() throws {
    let strata = (0..<300).map { $0 % 3 == 0 ? 1 : 0 }
    for fold in try Folds.stratified(strata: strata, count: 5, seed: 9).folds {
      #expect(fold.test.count { strata[$0] == 1 } == 20 && fold.test.count == 60)
    }
  }

  @Test func groupedFoldsAreThoseOfGroupKFold() throws {
    // sklearn: [t.tolist() for _, t in GroupKFold(3).split(x, groups=groups)]
    let groups = [0, 0, 0, 0, 1, 1, 1, 2, 2, 3]
    let folds = try Folds.grouped(groups: groups, count: 3).folds
    #expect(folds.map(\.test) == [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9]])
  }

  @Test func manyGroupsAreDealtAsGroupKFoldDealsThem() throws {
    let groups = [
      10, 7, 6, 3, 3, 0, 0, 0, 2, 9, 7, 10, 6, 7, 11, 8, 7, 6, 6, 11, 3, 9, 8, 0, 4, 10, 6, 0, 9, 8, 10, 2, 1, 10, 0,
      6, 0, 3, 5, 5, 4, 0, 0, 1, 0, 8, 6, 7, 3, 7, 9, 4, 5, 11, 9, 11, 4, 8, 11, 7,
    ]
    // sklearn: [len(t) for _, t in GroupKFold(4).split(x, groups=groups)]
    let folds = try Folds.grouped(groups: groups, count: 4).folds
    #expect(folds.map(\.test.count) == [15, 15, 16, 14])
    for fold in folds { #expect(Set(fold.test.map { groups[$0] }).isDisjoint(with: fold.train.map { groups[$0] })) }
  }

  @Test func threeClassesAreDealtAsStratifiedKFoldDealsThem() throws {
    let strata = [
      0, 1, 2, 1, 2, 2, 1, 2, 0, 2, 0, 0, 2, 0, 2, 2, 2, 2, 2, 2, 0, 2, 2, 1, 1, 0, 0, 2, 2, 1, 0, 2, 0, 0, 0, 1, 2, 0,
      2, 2,
    ]
    let folds = try Folds.stratified(strata: strata, count: 4, seed: nil).folds
    #expect(
      folds.map(\.test) == [
        [0, 1, 2, 4, 5, 7, 8, 9, 10, 11], [3, 6, 12, 13, 14, 15, 16, 17, 20, 25],
        [18, 19, 21, 22, 23, 24, 26, 27, 30, 32], [28, 29, 31, 33, 34, 35, 36, 37, 38, 39],
      ])
  }

  @Test func foldsOfTimeAreThoseOfTimeSeriesSplit() throws {
    // sklearn: list(TimeSeriesSplit(3).split(range(10))), the rows in the order of their times.
    let folds = try Folds.timeSeries(times: (0..<10).map { Double(10 - $0) }, count: 3).folds
    #expect(folds.map(\.test) == [[5, 4], [3, 2], [1, 0]])
    #expect(folds.map(\.train) == [[9, 8, 7, 6], [9, 8, 7, 6, 5, 4], [9, 8, 7, 6, 5, 4, 3, 2]])
    #expect(try Folds.timeSeries(times: (0..<10).map { Double($0) }, count: 3, gap: 2).folds[0].train == [0, 1])
  }

  @Test func tooFewRowsOrGroupsAreRefused() throws {
    func message(_ body: () throws -> Folds) -> String? { #expect(throws: TrainingError.self) { try body() }?.message }
    #expect(message { try .random(rowCount: 2, count: 3, seed: 1) } == "folds: expected at least 3 rows, found 2")
    #expect(message { try .grouped(groups: [0, 0, 1], count: 3) } == "folds: expected at least 3 groups, found 2")
    #expect(
      message { try .stratified(strata: [0, 1, 2, 0], count: 3, seed: 1) }
        == "folds: expected a class of at least 3 rows, found at most 2 in one")
    #expect(message { try .timeSeries(times: [1, 2, 3], count: 3) } == "folds: expected at least 4 rows, found 3")
  }
}
