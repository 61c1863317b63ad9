import NeedletailCore
import NeedletailEngine
import Testing

@testable import NeedletailTraining

/// Linear models of several categories of many levels, held against the same columns written out.
@Suite struct WideCategoryTests {
  private func fit(
    _ inputs: IndicatorRows, _ targets: [Double], _ model: [String: Document]
  ) throws -> LinearRegression.Fitted {
    let context = FitContext(
      LinearRegression(), task: .regression, train: Samples(inputs: inputs, targets: targets), model: model,
      training: ["tolerance": .number(1e-11)])
    return try #require(try LinearRegression().fit(context) as? LinearRegression.Fitted)
  }

  /// Rows of two categories of many levels beside a number: as numbers a row, and the same as plain columns.
  private func crossed(
    rows: Int, levels: (Int, Int), seed: UInt64
  ) -> (coded: IndicatorRows, plain: Matrix, targets: [Double]) {
    var random = RandomSource(seed: seed)
    let number = Synthetic.inputs(rows: rows, columns: 1, seed: seed + 1)
    let effects = [levels.0, levels.1].map { count in (0..<count).map { _ in random.normal() } }
    let first = (0..<rows).map { row in row % 9 == 0 ? -1 : Int32(random.index(below: levels.0)) }
    let second = (0..<rows).map { _ in Int32(random.index(below: levels.1)) }
    let width = 1 + levels.0 + levels.1
    var plain = Matrix(rows: rows, columns: width)
    var targets: [Double] = []
    for row in 0..<rows {
      plain[row, levels.0] = number[row, 0]
      if first[row] >= 0 { plain[row, Int(first[row])] = 1 }
      plain[row, levels.0 + 1 + Int(second[row])] = 1
      let own = first[row] >= 0 ? effects[0][Int(first[row])] : 0
      targets.append(1 + own + effects[1][Int(second[row])] + Double(number[row, 0]) + 0.1 * random.normal())
    }
    let coded = CodedRows(
      columns: width,
      categories: [
        .init(columns: 0..<levels.0, codes: first), .init(columns: (levels.0 + 1)..<width, codes: second),
      ], numbers: number)
    return (IndicatorRows(coded), plain, targets)
  }

  @Test(arguments: [0.0, 3])
  func aSecondWideCategoryIsSolvedAsTheSameColumnsWrittenOut(l2: Double) throws {
    // The first is narrow enough to be solved exactly; the second is iterated.
    for (rows, levels, tolerance) in [(400, (20, 30), 1e-8), (1500, (530, 540), 1e-5)] {
      let (coded, plain, targets) = crossed(rows: rows, levels: levels, seed: 7)
      #expect((coded.columnsBesideWidest > LinearRegression.exactColumnsMax) == (rows == 1500))
      let expected = try fit(IndicatorRows(plain), targets, ["l2": .number(l2)])
      let found = try fit(coded, targets, ["l2": .number(l2)])
      for row in 0..<rows {
        func answer(_ fitted: LinearRegression.Fitted) -> Double {
          (0..<plain.columns).reduce(fitted.intercept) { $0 + fitted.weights[$1] * Double(plain[row, $1]) }
        }
        let (x, y) = (answer(found), answer(expected))
        #expect(abs(x - y) < tolerance * max(1, abs(y)), "row \(row) of \(rows): \(x) instead of \(y)")
      }
    }
  }

  @Test(arguments: [("squared", 0.01, 1.0), ("squared", 0.02, 0.3), ("poisson", 0.01, 0.5)])
  func aSecondWideCategoryIsPenalisedAsTheSameColumnsWrittenOut(loss: String, penalty: Double, ratio: Double) throws {
    let (coded, plain, targets) = crossed(rows: 300, levels: (20, 30), seed: 11)
    let model: [String: Document] = [
      "loss": .text(loss), "penalty": .number(penalty), "l1_ratio": .number(ratio),
    ]
    let shown = loss == "poisson" ? targets.map { max($0, 0) } : targets
    let (found, expected) = (try fit(coded, shown, model), try fit(IndicatorRows(plain), shown, model))
    for (x, y) in zip(found.weights, expected.weights) { #expect(abs(x - y) < 1e-5, "\(x) instead of \(y)") }
  }
}
