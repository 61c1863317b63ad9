import NeedletailCore
import Testing

@testable import NeedletailTraining

@Suite struct LeastSquaresTests {
  @Test func solvesAnOverdeterminedProblemByHand() throws {
    // y = 1 + 2x through (0, 1), (1, 3), (2, 5), and one row off the line by symmetric errors.
    var problem = try LeastSquares(columns: 2)
    for (x, y) in [(0.0, 1.0), (1, 3.5), (1, 2.5), (2, 5)] { problem.add([1, x], equals: y) }
    let (solution, rank) = try problem.solve()
    #expect(rank == 2)
    #expect(abs(solution[0] - 1) < 1e-12 && abs(solution[1] - 2) < 1e-12)
  }

  @Test func recoversWeightsAcrossManyBlocks() throws {
    var random = RandomSource(seed: 9)
    let weights = (0..<12).map { _ in random.normal() }
    var problem = try LeastSquares(columns: 12)
    for _ in 0..<3000 {
      let row = (0..<12).map { _ in random.normal() }
      problem.add(row, equals: zip(row, weights).reduce(0) { $0 + $1.0 * $1.1 })
    }
    let solution = try problem.solve().solution
    for (found, expected) in zip(solution, weights) { #expect(abs(found - expected) < 1e-11) }
  }

  @Test func dependentColumnsShareTheWeightOfLeastNorm() throws {
    // Both columns are equal: of all a + b = 3 the least norm is a = b = 1.5.
    var problem = try LeastSquares(columns: 2)
    for x in [1.0, 2, 3] { problem.add([x, x], equals: 3 * x) }
    let (solution, rank) = try problem.solve()
    #expect(rank == 1)
    #expect(abs(solution[0] - 1.5) < 1e-12 && abs(solution[1] - 1.5) < 1e-12)
  }

  @Test func nearlyDependentColumnsKeepTheirDigits() throws {
    // Squaring these into normal equations would lose them: condition 1e6.
    var random = RandomSource(seed: 2)
    var problem = try LeastSquares(columns: 2)
    for _ in 0..<100 {
      let x = random.normal()
      let z = x + 1e-6 * random.normal()
      problem.add([x, z], equals: 2 * x - z)
    }
    let solution = try problem.solve().solution
    #expect(abs(solution[0] - 2) < 1e-8 && abs(solution[1] + 1) < 1e-8)
  }

  @Test func columnsOfTinyNumbersAreSolvedWithoutOverflow() throws {
    // The squares of these underflow to denormal numbers, whose inverse is infinite.
    var problem = try LeastSquares(columns: 2)
    for x in [1.0, 2, 3] { problem.add([x, 1e-160 * x * x], equals: x + 3 * x * x) }
    let (solution, rank) = try problem.solve()
    #expect(solution.allSatisfy { $0.isFinite })
    // Against 1, 1e-160 counts as zero: what is left is the best multiple of x, Σxy / Σx² = 122 / 14.
    #expect(rank == 1)
    #expect(abs(solution[0] - 122.0 / 14) < 1e-12)
  }

  @Test func fewerEquationsThanColumnsGiveTheSolutionOfLeastNorm() throws {
    // x + 2y + 2z = 9: the solution of least norm lies along (1, 2, 2).
    var problem = try LeastSquares(columns: 3)
    problem.add([1, 2, 2], equals: 9)
    let (solution, rank) = try problem.solve()
    #expect(rank == 1)
    for (found, expected) in zip(solution, [1.0, 2, 2]) { #expect(abs(found - expected) < 1e-12) }
  }

  @Test func noEquationsGiveZeros() throws {
    var problem = try LeastSquares(columns: 3)
    #expect(try problem.solve().solution == [0, 0, 0])
  }

  @Test func refusesMoreColumnsThanMemoryHolds() {
    let error = #expect(throws: TrainingError.self) { _ = try LeastSquares(columns: 8193) }
    #expect(
      error?.message
        == "least squares: expected at most 8,192 columns after one-hot encoding, found 8,193; "
        + "drop the columns with the most categories (data.drop)")
  }
}

@Suite struct LBFGSTests {
  @Test func findsTheMinimumOfRosenbrocksValley() {
    let result = LBFGS().minimise(from: [-1.2, 1]) { x, gradient in
      let a = 1 - x[0]
      let b = x[1] - x[0] * x[0]
      gradient = [-2 * a - 400 * x[0] * b, 200 * b]
      return a * a + 100 * b * b
    }
    #expect(result.hasConverged)
    #expect(abs(result.point[0] - 1) < 1e-7 && abs(result.point[1] - 1) < 1e-7)
  }

  @Test func reportsAFunctionWithoutAMinimum() {
    var solver = LBFGS()
    solver.iterationsMax = 50
    let result = solver.minimise(from: [0]) { x, gradient in
      gradient = [-1]
      return -x[0]
    }
    #expect(!result.hasConverged)
  }
}
