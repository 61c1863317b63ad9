/// Linear least squares by orthogonal factorisation, in Double, with memory bounded by d² rather than n·d.
///
/// Rows come in blocks; each is stacked under the triangle so far and reduced by Householder reflections
/// (TSQR: Demmel et al., 2012). Nothing is squared, so that collinear columns lose no more digits than
/// they must. A rank-deficient problem, which every one-hot encoding beside an intercept is, gets the
/// solution of least norm, as LAPACK's `gelsd` gives.
struct LeastSquares {
  let columns: Int
  /// The triangle of [X | y]: (columns + 1)², row-major.
  private var triangle: [Double]
  private var block: [Double] = []
  private let width: Int
  private let blockRowsMax: Int

  init(columns: Int) {
    self.columns = columns
    width = columns + 1
    triangle = [Double](repeating: 0, count: width * width)
    blockRowsMax = max(256, 2 * width)
    block.reserveCapacity(blockRowsMax * width)
  }

  /// Adds one equation: coefficients · x = value.
  mutating func add(_ coefficients: some Collection<Double>, equals value: Double) {
    precondition(coefficients.count == columns)
    block.append(contentsOf: coefficients)
    block.append(value)
    if block.count == blockRowsMax * width { reduceBlock() }
  }

  private mutating func reduceBlock() {
    guard !block.isEmpty else { return }
    var stacked = triangle + block
    let rows = stacked.count / width
    Self.triangularise(&stacked, rows: rows, width: width)
    triangle = Array(stacked[0..<(width * width)])
    block.removeAll(keepingCapacity: true)
  }

  /// Householder reflections from the left; what is below the diagonal becomes zero.
  private static func triangularise(_ matrix: inout [Double], rows: Int, width: Int) {
    matrix.withUnsafeMutableBufferPointer { a in
      var reflector = [Double](repeating: 0, count: rows)
      var projections = [Double](repeating: 0, count: width)
      for k in 0..<min(width, rows) {
        var squares = 0.0
        for i in k..<rows {
          reflector[i] = a[i * width + k]
          squares += reflector[i] * reflector[i]
        }
        let head = reflector[k]
        if squares - head * head == 0 { continue }
        let norm = squares.squareRoot()
        let alpha = head > 0 ? -norm : norm
        reflector[k] = head - alpha
        let scale = 2 / (squares - head * head + reflector[k] * reflector[k])
        // Row by row, so that memory is read in its order.
        for j in k..<width { projections[j] = 0 }
        for i in k..<rows {
          let factor = reflector[i]
          if factor == 0 { continue }
          for j in k..<width { projections[j] += factor * a[i * width + j] }
        }
        for i in k..<rows {
          let factor = scale * reflector[i]
          if factor == 0 { continue }
          for j in k..<width { a[i * width + j] -= factor * projections[j] }
          if i > k { a[i * width + k] = 0 }
        }
      }
    }
  }

  /// - Returns: the solution of least norm, and how many columns are linearly independent.
  mutating func solve() -> (solution: [Double], rank: Int) {
    reduceBlock()
    let n = columns
    // Pivoted factorisation of the small triangle by modified Gram-Schmidt over its columns; the
    // right-hand side travels along.
    var vectors = (0..<n).map { j in (0..<n).map { i in triangle[i * width + j] } }
    var right = (0..<n).map { triangle[$0 * width + n] }
    var order = Array(0..<n)
    var r = [[Double]](repeating: [Double](repeating: 0, count: n), count: n)
    var projected = [Double]()
    let largest = vectors.map { Self.dot($0, $0) }.max() ?? 0
    let tolerance = largest.squareRoot() * Double(max(n, 1)) * 1e-13
    var rank = 0
    while rank < n {
      let norms = (rank..<n).map { Self.dot(vectors[$0], vectors[$0]) }
      guard let best = norms.indices.max(by: { norms[$0] < norms[$1] }) else { break }
      let norm = norms[best].squareRoot()
      guard norm > tolerance else { break }
      vectors.swapAt(rank, rank + best)
      order.swapAt(rank, rank + best)
      for row in 0..<rank { r[row].swapAt(rank, rank + best) }
      let unit = vectors[rank].map { $0 / norm }
      r[rank][rank] = norm
      for j in (rank + 1)..<max(n, rank + 1) {
        // Twice is enough (Kahan): the second pass removes what rounding left.
        for _ in 0..<2 {
          let along = Self.dot(unit, vectors[j])
          r[rank][j] += along
          for i in 0..<n { vectors[j][i] -= along * unit[i] }
        }
      }
      let along = Self.dot(unit, right)
      projected.append(along)
      for i in 0..<n { right[i] -= along * unit[i] }
      rank += 1
    }

    let pivoted =
      rank == n
      ? Self.backSubstitute(r, projected) : Self.leastNorm(Array(r[0..<rank]), projected, columns: n)
    var solution = [Double](repeating: 0, count: n)
    for (position, column) in order.enumerated() { solution[column] = pivoted[position] }
    return (solution, rank)
  }

  private static func backSubstitute(_ r: [[Double]], _ right: [Double]) -> [Double] {
    var x = right
    for i in stride(from: right.count - 1, through: 0, by: -1) {
      for j in (i + 1)..<max(right.count, i + 1) { x[i] -= r[i][j] * x[j] }
      x[i] /= r[i][i]
    }
    return x
  }

  /// x = Rᵀ (R Rᵀ)⁻¹ b for a trapezoid R of full row rank.
  private static func leastNorm(_ r: [[Double]], _ right: [Double], columns: Int) -> [Double] {
    let rank = right.count
    guard rank > 0 else { return [Double](repeating: 0, count: columns) }
    // Cholesky of R Rᵀ.
    var l = [[Double]](repeating: [Double](repeating: 0, count: rank), count: rank)
    for i in 0..<rank {
      for j in 0...i {
        var sum = dot(r[i], r[j])
        for k in 0..<j { sum -= l[i][k] * l[j][k] }
        l[i][j] = i == j ? max(sum, .leastNormalMagnitude).squareRoot() : sum / l[j][j]
      }
    }
    var y = right
    for i in 0..<rank {
      for k in 0..<i { y[i] -= l[i][k] * y[k] }
      y[i] /= l[i][i]
    }
    for i in stride(from: rank - 1, through: 0, by: -1) {
      for k in (i + 1)..<max(rank, i + 1) { y[i] -= l[k][i] * y[k] }
      y[i] /= l[i][i]
    }
    return (0..<columns).map { column in
      (0..<rank).reduce(0) { $0 + r[$1][column] * y[$1] }
    }
  }

  private static func dot(_ a: [Double], _ b: [Double]) -> Double {
    var sum = 0.0
    for i in a.indices { sum += a[i] * b[i] }
    return sum
  }
}
