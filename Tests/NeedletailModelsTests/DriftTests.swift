import NeedletailCore
import NeedletailModels
import Testing

/// Live values counted against the baseline of training, and the figures made of the counts.
@Suite("Drift")
struct DriftTests {
  private func column(
    edges: [Double] = [], bins: [Int] = [], categories: [(category: String, count: Int)] = [], rows: Int = 1000,
    missingRate: Double = 0
  ) -> DriftBaseline.Column {
    DriftBaseline.Column(
      name: "x", rows: rows, missingRate: missingRate, quantileEdges: edges, binCounts: bins, categories: categories)
  }

  private func numeric() -> Feature { Feature(name: "x", kind: .numeric, missing: .impute) }

  private func colours(_ unknown: Feature.UnknownPolicy = .zeros) -> Feature {
    Feature(
      name: "x", kind: .categorical(categories: ["red", "green", "blue"], unknown: unknown), missing: .impute)
  }

  // MARK: places

  @Test func aBinIncludesItsLowerEdgeAndTheLastOneBoth() throws {
    let column = try #require(DriftColumn(column(edges: [0, 1, 2.5, 4], bins: [300, 300, 400]), numeric()))
    #expect(column.place(of: 0) == .cell(0))
    #expect(column.place(of: 0.999) == .cell(0))
    #expect(column.place(of: 1) == .cell(1))
    #expect(column.place(of: 2.5) == .cell(2))
    #expect(column.place(of: 4) == .cell(2))
    #expect(column.place(of: -0.001) == .outOfRange(0))
    #expect(column.place(of: .infinity) == .outOfRange(2))
    #expect(column.place(of: .nan) == .missing)
  }

  @Test func aConstantHasACellAndEverythingElseAnother() throws {
    let column = try #require(DriftColumn(column(edges: [7], rows: 200, missingRate: 0.25), numeric()))
    #expect(column.reference == [150, 0])
    #expect(column.place(of: 7) == .cell(0))
    #expect(column.place(of: 7.5) == .outOfRange(1))
  }

  @Test func aCategoryIsFoundByItsCodeWhateverTheOrderOfTheBaseline() throws {
    let baseline = column(categories: [("blue", 600), ("red", 300)], rows: 1000, missingRate: 0.05)
    let column = try #require(DriftColumn(baseline, colours()))
    #expect(column.reference == [600, 300, 50], "green, of which the baseline says nothing, is among the rest")
    #expect(column.place(of: 0) == .cell(1))
    #expect(column.place(of: 1) == .cell(2))
    #expect(column.place(of: 2) == .cell(0))
    #expect(column.place(of: -1) == .unknown(2), "the code of an unknown category that becomes zeros")
    #expect(column.place(of: 3) == .unknown(2), "the code of an unknown category that is a category of its own")
    #expect(column.place(of: .nan) == .missing)
  }

  @Test func aBaselineThatDoesNotFitIsNotWatched() {
    #expect(DriftColumn(column(edges: [0, 1], bins: [1, 2]), numeric()) == nil, "two bins between two edges")
    #expect(DriftColumn(column(edges: [1, 0], bins: [5]), numeric()) == nil, "edges that descend")
    #expect(DriftColumn(column(edges: [0, .infinity], bins: [5]), numeric()) == nil, "an edge that is no number")
    #expect(DriftColumn(column(edges: [0, 1], bins: [-5]), numeric()) == nil, "a count below zero")
    #expect(DriftColumn(column(edges: [0, 1], bins: [0]), numeric()) == nil, "no rows")
    #expect(DriftColumn(column(), numeric()) == nil, "nothing but missing values")
    #expect(DriftColumn(column(categories: [("red", 5)]), numeric()) == nil, "categories of a number")
    #expect(DriftColumn(column(categories: [("mauve", 5)]), colours()) == nil, "a category that the model lacks")
    #expect(DriftColumn(column(edges: [0, 1], bins: [5]), colours()) == nil, "numbers of a category")
    #expect(DriftColumn(column(categories: [("red", 5)]), colours(.hash)) == nil, "hashed categories")
  }

  // MARK: figures

  /// Figures of `_psi` and `_jensenshannon` of Evidently 0.7.23 for series with these counts of categories.
  @Test(arguments: [
    (
      [100, 100, 100, 100, 100, 100, 100, 100, 100, 100], [30, 60, 90, 100, 110, 120, 130, 140, 110, 110],
      0.13360028033891552, 0.12675814681688405
    ),
    ([500, 300, 200], [0, 10, 90], 5.53032151186599, 0.5656001498005221),
    ([90000, 9990, 10], [300, 0, 700], 7.545141933193403, 0.5960313808399688),
    ([1, 1, 1, 1], [5, 5, 5, 5], 0, 0),
  ])
  func figuresAreThoseOfEvidently(reference: [Int], live: [Int], index: Double, distance: Double) {
    let figures = DriftFigures(counts(live), reference: reference)
    #expect(abs(figures.stabilityIndex - index) < 1e-12)
    #expect(abs(figures.jensenShannon - distance) < 1e-12)
  }

  /// 1 − Φ(4) quantiles of χ² of scipy 1.17, times 1/n + 1/m. Wilson and Hilferty's are up to 6 % higher.
  @Test(arguments: [(10, 10000, 1000, 0.04020), (3, 500, 100, 0.24864), (100, 50000, 5000, 0.03642)])
  func whatChanceMayGiveFollowsFromTheNumbersOfValues(cells: Int, trained: Int, live: Int, expected: Double) {
    var reference = [Int](repeating: trained / cells, count: cells)
    reference[0] += trained - reference.reduce(0, +)
    var found = [Int](repeating: live / cells, count: cells)
    found[0] += live - found.reduce(0, +)
    let figures = DriftFigures(counts(found), reference: reference)
    #expect(figures.chance >= expected && figures.chance < expected * 1.07)
  }

  private func counts(_ live: [Int]) -> DriftCounts {
    var counts = DriftCounts(cells: live.count)
    for (cell, count) in live.enumerated() { for _ in 0..<count { counts.add(.cell(cell)) } }
    return counts
  }

  @Test func aLevelAsksForBothSizeAndEvidence() {
    #expect(DriftFigures(counts([60, 39]), reference: [100, 900]).level == .few, "99 values")
    #expect(DriftFigures(counts([60, 60]), reference: [100, 900]).level == .alert)
    #expect(DriftFigures(counts([100, 900]), reference: [100, 900]).level == .none)
    #expect(DriftFigures(counts([300, 1200]), reference: [100, 900]).level == .none, "0.08")
    #expect(DriftFigures(counts([220, 780]), reference: [100, 900]).level == .warning, "0.112")
    // Forty cells of three values each: an index of 0.12 comes by chance.
    let rough = DriftFigures(
      counts((0..<40).map { $0 % 2 == 0 ? 2 : 4 }), reference: [Int](repeating: 100, count: 40))
    #expect(rough.stabilityIndex > 0.1 && rough.stabilityIndex < rough.chance && rough.level == .none)
  }

  @Test func ratesTellMissingUnknownAndOutOfRange() {
    var counts = DriftCounts(cells: 3)
    for place in [
      DriftColumn.Place.cell(0), .cell(1), .outOfRange(0), .unknown(2), .unknown(2), .missing, .missing, .missing,
    ] {
      counts.add(place)
    }
    let figures = DriftFigures(counts, reference: [10, 10, 10])
    #expect(figures.rows == 8 && counts.present == 5 && counts.cells == [2, 1, 2])
    #expect(figures.missingRate == 3.0 / 8)
    #expect(figures.outOfRangeRate == 1.0 / 8)
    #expect(figures.unknownRate == 2.0 / 8)
  }

  // MARK: window

  private func at(_ seconds: Double) -> Instant { Instant(nanoseconds: UInt64((1000 + seconds) * 1e9)) }

  @Test func aWindowForgetsSliceBySlice() {
    var window = DriftWindow(cells: [2], seconds: 120, now: at(0))
    for second in 0..<300 {
      window.advance(to: at(Double(second)))
      window.add(.cell(0), column: 0)
      // Between eleven and twelve slices of ten seconds.
      #expect((min(second + 1, 111)...120).contains(window.counts[0].rows))
    }
    #expect(window.advance(to: at(305)) == 1)
    #expect(window.counts[0].rows == 110)
    #expect(window.advance(to: at(1000)) >= 12)
    #expect(window.counts[0] == DriftCounts(cells: 2), "everything is older than the window")
    window.add(.missing, column: 0)
    #expect(window.counts[0].missing == 1)
  }
}
