internal import COpenBLAS
internal import NeedletailCore

/// Linear least squares by orthogonal factorisation in Double, through the LAPACK inside OpenBLAS.
///
/// Equations come one by one. Blocks of them are folded into one triangle as they come (`dtplqt`; the method is
/// TSQR: Demmel et al., 2012), so that memory grows with the square of the columns and not with the rows. The
/// triangle is then solved by `dgelsd`, the routine behind `numpy.linalg.lstsq` and scikit-learn's
/// `LinearRegression`. Nothing is squared, so nearly dependent columns keep their digits. A rank-deficient problem,
/// as every one-hot encoding beside an intercept is, gets the solution of least norm.
struct LeastSquares {
  /// Number of unknowns.
  let columns: Int
  /// Number of equations added so far.
  private(set) var rows = 0
  /// Columns of a row with its right-hand side behind it.
  private let width: Int
  /// Triangle of [X | y], `width²` elements: upper and row-major, which is LAPACK's lower and column-major.
  private var triangle: [Double]
  /// Equations that wait to be folded into the triangle, row-major.
  private var block: [Double] = []
  private var reflectors: [Double]
  private var work: [Double]

  /// Equations folded in at once: enough for matrix products, and 32 MB at the most columns allowed.
  private static let blockRowsMax = 512
  /// Reflections applied together, as LAPACK's own default for orthogonal factorisations.
  private static let reflectorsMax = 32

  /// - Parameter columns: number of unknowns, from 1.
  /// - Throws: `TrainingError` of kind `fit` beyond ``Limits/leastSquaresColumnsMax``.
  init(columns: Int) throws(TrainingError) {
    precondition(columns > 0, "a least squares problem needs an unknown")
    guard columns <= Limits.leastSquaresColumnsMax else {
      throw .fit(
        "least squares: expected at most \(Figures.count(Limits.leastSquaresColumnsMax)) columns after one-hot "
          + "encoding, found \(Figures.count(columns)); drop the columns with the most categories (data.drop)")
    }
    self.columns = columns
    width = columns + 1
    triangle = [Double](repeating: 0, count: width * width)
    reflectors = [Double](repeating: 0, count: Self.reflectorsMax * width)
    work = reflectors
    block.reserveCapacity(Self.blockRowsMax * width)
  }

  /// Adds one equation: coefficients · x = value.
  ///
  /// - Parameters:
  ///   - coefficients: one finite number a column.
  ///   - value: the finite right-hand side.
  mutating func add(_ coefficients: some Collection<Double>, equals value: Double) {
    precondition(coefficients.count == columns)
    block.append(contentsOf: coefficients)
    block.append(value)
    rows += 1
    if block.count == Self.blockRowsMax * width { foldBlock() }
  }

  /// Triangle of the equations so far and of those in the block.
  private mutating func foldBlock() {
    guard !block.isEmpty else { return }
    // LAPACK reads the row-major block as its transpose, so that its LQ is the QR of what is meant.
    var order = blasint(width)
    var count = blasint(block.count / width)
    var trapezoid: blasint = 0
    var reflectorCount = blasint(min(Self.reflectorsMax, width))
    var info: blasint = 0
    var (orderOfTriangle, orderOfBlock, orderOfReflectors) = (order, order, reflectorCount)
    dtplqt_(
      &order, &count, &trapezoid, &reflectorCount, &triangle, &orderOfTriangle, &block, &orderOfBlock, &reflectors,
      &orderOfReflectors, &work, &info)
    precondition(info == 0, "dtplqt: argument \(-info) is wrong")
    block.removeAll(keepingCapacity: true)
  }

  /// Triangle of the coefficients, column-major, and its right-hand side.
  private mutating func system() -> (matrix: [Double], right: [Double]) {
    foldBlock()
    var matrix = [Double](repeating: 0, count: columns * columns)
    var right = [Double](repeating: 0, count: columns)
    for row in 0..<columns {
      for column in row..<columns { matrix[column * columns + row] = triangle[row * width + column] }
      right[row] = triangle[row * width + columns]
    }
    return (matrix, right)
  }

  /// Solves the equations added so far, and says which changes of the solution solve them as well.
  ///
  /// - Parameter tolerance: a column counts as dependent where what the others leave of it is no longer than this.
  /// - Returns: a solution, not the one of least norm, and a basis of the vectors that may be added to it.
  /// - Complexity: O(columns³).
  mutating func solveWithFreedom(tolerance: Double) -> (solution: [Double], freedom: [[Double]]) {
    var (matrix, right) = system()
    var (order, one, info) = (blasint(columns), blasint(1), blasint(0))
    var (orderOfMatrix, orderOfRight, reflectorCount) = (order, order, order)
    var pivots = [blasint](repeating: 0, count: columns)
    var scales = [Double](repeating: 0, count: columns)
    var (work, workSize) = ([0.0], blasint(-1))
    var columnCount = order
    for _ in ["ask for the workspace", "factorise"] {
      dgeqp3_(&order, &columnCount, &matrix, &orderOfMatrix, &pivots, &scales, &work, &workSize, &info)
      precondition(info == 0, "dgeqp3: argument \(-info) is wrong")
      if workSize == -1 {
        workSize = blasint(work[0])
        work = [Double](repeating: 0, count: Int(workSize))
      }
    }
    (work, workSize) = ([0.0], -1)
    for _ in ["ask for the workspace", "multiply"] {
      dormqr_(
        "L", "T", &order, &one, &reflectorCount, &matrix, &orderOfMatrix, &scales, &right, &orderOfRight, &work,
        &workSize, &info)
      precondition(info == 0, "dormqr: argument \(-info) is wrong")
      if workSize == -1 {
        workSize = blasint(work[0])
        work = [Double](repeating: 0, count: Int(workSize))
      }
    }
    let rank = (0..<columns).first { abs(matrix[$0 * columns + $0]) <= tolerance } ?? columns
    // Behind the rank every column of R is a combination of those before it.
    func combination(_ right: [Double]) -> [Double] {
      var solution = Array(right[..<rank])
      for row in stride(from: rank - 1, through: 0, by: -1) {
        solution[row] /= matrix[row * columns + row]
        for above in 0..<row { solution[above] -= matrix[row * columns + above] * solution[row] }
      }
      return solution
    }
    func placed(_ values: [Double]) -> [Double] {
      var result = [Double](repeating: 0, count: columns)
      for (position, value) in values.enumerated() { result[Int(pivots[position]) - 1] = value }
      return result
    }
    let freedom = (rank..<columns).map { column in
      let dependence = combination(Array(matrix[(column * columns)..<((column + 1) * columns)]))
      var vector = placed(dependence.map { -$0 })
      vector[Int(pivots[column]) - 1] = 1
      return vector
    }
    return (placed(combination(right)), freedom)
  }

  /// Solves the equations added so far.
  ///
  /// - Parameter tolerance: singular values up to the largest times this count as zero. It is never less than
  ///   ε · max(rows, columns), NumPy's rule; more says how exact the coefficients are.
  /// - Returns: the solution of least norm, and how many columns are linearly independent.
  /// - Throws: `TrainingError` of kind `fit` where the singular value decomposition does not converge, which
  ///   numbers that are not finite cause.
  /// - Complexity: O(columns³).
  mutating func solve(tolerance: Double = 0) throws(TrainingError) -> (solution: [Double], rank: Int) {
    var (matrix, right) = system()
    var singularValues = right
    var (order, orderOfMatrix, orderOfRight) = (blasint(columns), blasint(columns), blasint(columns))
    var (unknowns, rightHandSides) = (order, blasint(1))
    var threshold = max(tolerance, Double.ulpOfOne * Double(max(rows, columns)))
    var rank: blasint = 0
    var info: blasint = 0
    var work = [0.0]
    var integerWork: [blasint] = [0]
    var workSize: blasint = -1
    for _ in ["ask for the workspace", "solve"] {
      dgelsd_(
        &order, &unknowns, &rightHandSides, &matrix, &orderOfMatrix, &right, &orderOfRight, &singularValues, &threshold,
        &rank, &work, &workSize, &integerWork, &info)
      precondition(info >= 0, "dgelsd: argument \(-info) is wrong")
      if workSize == -1 {
        workSize = blasint(work[0])
        work = [Double](repeating: 0, count: Int(workSize))
        integerWork = [blasint](repeating: 0, count: Int(max(integerWork[0], 1)))
      }
    }
    guard info == 0 else {
      throw .fit(
        "least squares: expected singular values that converge, found \(info) that do not; standardise the features")
    }
    return (right, Int(rank))
  }
}
