import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@Suite struct BLASTests {
  @Test(arguments: [false, true], [false, true])
  func sgemmAgreesWithThreeLoops(transposeA: Bool, transposeB: Bool) {
    BLAS.useOneThread()
    let (rows, columns, depth) = (5, 7, 3)
    var random = SplitMix64(seed: 1)
    let a = (0..<rows * depth).map { _ in random.nextFloat() }
    let b = (0..<depth * columns).map { _ in random.nextFloat() }
    let before = (0..<rows * columns).map { _ in random.nextFloat() }
    var c = before
    BLAS.sgemm(
      rows: rows, columns: columns, depth: depth, alpha: 2, a, transposeA: transposeA, b, transposeB: transposeB,
      beta: 0.5, into: &c)
    for row in 0..<rows {
      for column in 0..<columns {
        var sum: Float = 0
        for k in 0..<depth {
          sum +=
            a[transposeA ? k * rows + row : row * depth + k] * b[transposeB ? column * depth + k : k * columns + column]
        }
        let expected = 2 * sum + 0.5 * before[row * columns + column]
        #expect(abs(c[row * columns + column] - expected) < 1e-5)
      }
    }
  }
}
