import NeedletailBLAS
import NeedletailCore
import NeedletailTestSupport
import Testing

@Suite struct BLASTests {
  @Test func theProductAgreesWithThreeLoops() {
    BLAS.useOneThread()
    let (rows, columns, depth) = (5, 7, 3)
    var random = SplitMix64(seed: 1)
    let a = (0..<rows * depth).map { _ in random.nextFloat() }
    let b = (0..<columns * depth).map { _ in random.nextFloat() }
    var c = [Float](repeating: .nan, count: rows * columns)
    BLAS.product(a, b, &c, rows, columns, depth)
    for row in 0..<rows {
      for column in 0..<columns {
        var sum: Float = 0
        for k in 0..<depth { sum += a[row * depth + k] * b[column * depth + k] }
        #expect(abs(c[row * columns + column] - sum) < 1e-5)
      }
    }
  }

  @Test(arguments: [false, true], [false, true]) func operandsMayBeTurned(isATurned: Bool, isBTurned: Bool) {
    BLAS.useOneThread()
    let (rows, columns, depth, first) = (5, 7, 3, 2)
    var random = SplitMix64(seed: 2)
    let a = (0..<rows * depth).map { _ in random.nextFloat() }
    let b = (0..<columns * depth).map { _ in random.nextFloat() }
    let before = (0..<rows * columns).map { _ in random.nextFloat() }
    var c = before
    a.withUnsafeBufferPointer { a in
      b.withUnsafeBufferPointer { b in
        let left = BLAS.Operand(a.baseAddress!, stride: isATurned ? rows : depth, isTransposed: isATurned)
        let right = BLAS.Operand(b.baseAddress!, stride: isBTurned ? depth : columns, isTransposed: isBTurned)
        c.withUnsafeMutableBufferPointer { c in
          BLAS.multiply(
            left.from(row: first), right, into: c.baseAddress! + first * columns, stride: columns, rows: rows - first,
            columns: columns, depth: depth, factor: 2, kept: 0.5)
          BLAS.scale(c.baseAddress!, count: columns, by: 3)
        }
      }
    }
    for row in 0..<rows {
      for column in 0..<columns {
        var sum: Float = 0
        for k in 0..<depth {
          sum +=
            a[isATurned ? k * rows + row : row * depth + k] * b[isBTurned ? column * depth + k : k * columns + column]
        }
        let old = before[row * columns + column]
        let expected = row >= first ? 2 * sum + 0.5 * old : row == 0 ? 3 * old : old
        #expect(abs(c[row * columns + column] - expected) < 1e-5)
      }
    }
  }
}
