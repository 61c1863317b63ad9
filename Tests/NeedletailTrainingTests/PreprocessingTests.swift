import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@testable import NeedletailTraining

@Suite struct PreprocessingTests {
  private let table = Table(
    columns: [
      .init(name: "x", values: .numbers([1, 3, .nan, 100])),
      .init(name: "flat", values: .numbers([5, 5, 5, 9])),
      .init(name: "c", values: .categories(codes: [1, 0, 1, 2], categories: ["b", "a", "late"])),
    ], rowNumbers: [1, 2, 3, 4])

  private func configuration(_ extra: String) throws -> RunConfiguration {
    try RunConfiguration(
      yaml: "data: { files: [a.csv] }\ntarget: { column: t }\nmodel: { family: mlp }\n" + extra, file: "run.yaml",
      directory: ".")
  }

  private func fit(_ extra: String) throws -> Preprocessing {
    try Preprocessing(features: table, rows: [0, 1, 2], target: "t", configuration: try configuration(extra))
  }

  @Test func preprocessingIsFittedOnTrainingRowsOnly() throws {
    let fitted = try fit("features: { missing: mean, unknown: zeros }")
    // x: 1, 3, and the gap filled with their mean 2: mean 2, variance 2/3. Row 3 (100, 9, late) was never seen.
    #expect(fitted.columnFits.map(\.fill) == [2, 5, 0])
    #expect(fitted.affine?.offset == [2, 5, 0, 0])
    #expect(fitted.affine?.scale == [Float(1.5.squareRoot()), 1, 1, 1])
    #expect(fitted.schema.features[2].kind == .categorical(categories: ["a", "b"], unknown: .zeros))
    #expect(fitted.columns == 4)
  }

  @Test func theEngineComputesWhatWasFitted() throws {
    let fitted = try fit("features: { missing: mean, unknown: zeros }")
    let matrix = try fitted.transform(table, rows: [0, 1, 2, 3])
    let step = Float(1.5.squareRoot())
    let expected: [Float] = [-step, 0, 1, 0, step, 0, 0, 1, 0, 0, 1, 0, 98 * step, 4, 0, 0]
    for (found, wanted) in zip(matrix.elements, expected) { #expect(abs(found - wanted) < 1e-4) }
  }

  @Test func minMaxMapsTheTrainingRangeToOne() throws {
    let fitted = try fit("features: { missing: median, unknown: other }\npreprocessing: { scale: min_max }")
    #expect(fitted.affine?.offset == [1, 5, 0, 0, 0])
    #expect(fitted.affine?.scale == [0.5, 1, 1, 1, 1])
    let row = try fitted.transform(table, rows: [3]).elements
    #expect(row == [49.5, 4, 0, 0, 1])
  }

  /// A column of 8 rows.
  private func column(_ name: String, _ number: (Double) -> Double) -> Table.Column {
    .init(name: name, values: .numbers((0..<8).map { number(Double($0)) }))
  }

  private func scaled(_ columns: [Table.Column], _ scaling: String) throws -> (fitted: Preprocessing, rows: Matrix) {
    let table = Table(columns: columns, rowNumbers: Array(1...8))
    let run = try configuration("preprocessing: { scale: \(scaling) }")
    let fitted = try Preprocessing(features: table, rows: Array(0..<8), target: "t", configuration: run)
    return (fitted, try fitted.transform(table, rows: Array(0..<8)))
  }

  // The deviation of 1e-80 overflows a factor of f32, that of 1e-200 is 0 in f64, and 1e-40 is a subnormal f32.
  @Test(arguments: ["standardise", "min_max"], [1e-40, 1e-80, 1e-200])
  func aColumnTooSmallForF32CountsAsConstantAndTheUserIsTold(scaling: String, unit: Double) throws {
    let likelihood = column("p") { unit * (1 + $0) }
    let warning =
      "column \"p\": expected numbers that differ by more than 3e-39, the least that fp32 can scale, found less: the "
      + "column counts as constant; use logarithms, or a larger unit"
    // Seconds since 1970 need f64, small whole numbers do not.
    for (start, element) in [(0.0, ValueType.Element.float32), (1_700_000_000, .float64)] {
      let (fitted, rows) = try scaled([likelihood, column("x") { start + $0 }], scaling)
      #expect(fitted.element == element)
      #expect(fitted.warnings == [warning])
      for row in 0..<8 { #expect(rows[row, 0] == 0) }
      #expect(rows[7, 1] > rows[0, 1])
    }
  }

  @Test(arguments: ["standardise", "min_max"], [20_000.01, 1_700_000_001, 3e38])
  func aConstantColumnAsksForNoMoreDigitsAndBecomesZeroInF64Too(scaling: String, constant: Double) throws {
    let flat = column("flat") { _ in constant }
    let (plain, zeros) = try scaled([flat, column("x") { $0 }], scaling)
    #expect(plain.element == .float32)
    for row in 0..<8 { #expect(zeros[row, 0] == 0) }
    let (exact, nearlyZeros) = try scaled([flat, column("x") { 1_700_000_000 + $0 }], scaling)
    #expect(exact.element == .float64)
    for row in 0..<8 { #expect(abs(nearlyZeros[row, 0]) < 1e-12) }
    #expect(plain.warnings.isEmpty && exact.warnings.isEmpty)
  }

  @Test func theGraphRefusesANumberThatIsNotFiniteByNodeAndColumn() throws {
    var builder = GraphBuilder(inputColumns: 2)
    let affine = Affine(scaling: .standardise, offset: [0, 0], scale: [1, .infinity])
    let error = #expect(throws: TrainingError.self) { try builder.add(affine, name: "standardise", from: 0) }
    #expect(error?.kind == .fit)
    #expect(
      error?.message
        == "building the model's graph: node \"standardise\": scales, column 1: expected a finite number, found inf")
    #expect(builder.nodes.isEmpty && builder.last == 0)
  }

  @Test func withoutScalingRowsPassThrough() throws {
    let fitted = try fit("features: { missing: most_frequent, unknown: zeros }\npreprocessing: { scale: none }")
    #expect(fitted.affine == nil)
    #expect(try fitted.transform(table, rows: [1, 2]).elements == [3, 5, 0, 1, 1, 5, 1, 0])
  }

  @Test(arguments: [("mean", 2.5), ("median", 1.5), ("most_frequent", 1), ("constant", 9)])
  func fillsGapsByPolicy(policy: String, fill: Float) throws {
    let column = Table.Column(name: "x", values: .numbers([1, 1, 2, 6, .nan]))
    let run = try configuration("features: { columns: { x: { missing: \(policy), constant: \"9\" } } }")
    let fit = try ColumnFit(column, rows: [0, 1, 2, 3, 4], policy: run.policy(for: "x"), run)
    #expect(fit.fill == fill)
    #expect(fit.feature.missing == .impute)
  }

  @Test func refusesGapsUnlessAPolicySaysOtherwise() throws {
    let error = #expect(throws: TrainingError.self) { try fit("") }
    #expect(
      error?.message
        == "run.yaml: column \"x\": expected no missing values (features.missing is refuse), found 1; set missing: median (or mean, most_frequent, constant)"
    )
  }

  @Test func aConstantMustBeAKnownCategory() throws {
    let error = #expect(throws: TrainingError.self) {
      try fit("features:\n  missing: mean\n  columns:\n    c: { missing: constant, constant: bb }")
    }
    #expect(
      error?.message
        == "run.yaml:7: features.columns.c.constant: expected a category of the training rows, found \"bb\", did you mean \"a\"?"
        || error?.message
          == "run.yaml:7: features.columns.c.constant: expected a category of the training rows, found \"bb\", did you mean \"b\"?"
    )
  }

  @Test func rowsThatTheSchemaRefusesAreRecognised() throws {
    let strict = try fit("features: { missing: mean }")
    #expect((0..<4).map { strict.accepts(table, row: $0) } == [true, true, true, false])
    let lenient = try fit("features: { missing: mean, unknown: zeros }")
    #expect(lenient.accepts(table, row: 3))
  }

  @Test func numericCategoriesAreOrderedByValue() {
    #expect(ColumnFit.sorted([0, 1, 2], ["10", "9", "-1"]) == [2, 1, 0])
    #expect(ColumnFit.sorted([0, 1, 2], ["10", "9", "x"]) == [0, 1, 2])
  }
}
