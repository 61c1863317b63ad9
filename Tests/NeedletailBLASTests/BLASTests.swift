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
}
