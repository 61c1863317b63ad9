internal import COpenBLAS

/// OpenBLAS, kept on one thread: Needletail owns its threads.
public enum BLAS {
  /// Stops OpenBLAS from waking its own threads. Idempotent; call it before anything else computes.
  public static func useOneThread() { openblas_set_num_threads(1) }

  /// C ← alpha · op(A) · op(B) + beta · C, all row-major and dense.
  ///
  /// op(A) is `rows × depth` and op(B) is `depth × columns`; with `transposeA` A lies in memory as
  /// `depth × rows`, likewise B. With beta 0, C need not be initialised.
  /// - Precondition: every buffer holds at least its matrix; sizes fit Int32.
  public static func sgemm(
    rows: Int, columns: Int, depth: Int, alpha: Float = 1,
    _ a: UnsafeBufferPointer<Float>, transposeA: Bool = false,
    _ b: UnsafeBufferPointer<Float>, transposeB: Bool = false,
    beta: Float = 0, into c: UnsafeMutableBufferPointer<Float>
  ) {
    precondition(rows >= 0 && columns >= 0 && depth >= 0, "a matrix has no negative side")
    precondition(a.count >= rows * depth, "A holds \(a.count) of \(rows) × \(depth)")
    precondition(b.count >= depth * columns, "B holds \(b.count) of \(depth) × \(columns)")
    precondition(c.count >= rows * columns, "C holds \(c.count) of \(rows) × \(columns)")
    guard rows > 0, columns > 0 else { return }
    cblas_sgemm(
      CblasRowMajor, transposeA ? CblasTrans : CblasNoTrans, transposeB ? CblasTrans : CblasNoTrans,
      Int32(rows), Int32(columns), Int32(depth), alpha,
      a.baseAddress, Int32(max(1, transposeA ? rows : depth)),
      b.baseAddress, Int32(max(1, transposeB ? depth : columns)),
      beta, c.baseAddress, Int32(columns))
  }

  /// C ← alpha · op(A) · op(B) + beta · C on arrays.
  public static func sgemm(
    rows: Int, columns: Int, depth: Int, alpha: Float = 1,
    _ a: [Float], transposeA: Bool = false, _ b: [Float], transposeB: Bool = false,
    beta: Float = 0, into c: inout [Float]
  ) {
    a.withUnsafeBufferPointer { a in
      b.withUnsafeBufferPointer { b in
        c.withUnsafeMutableBufferPointer { c in
          sgemm(
            rows: rows, columns: columns, depth: depth, alpha: alpha, a, transposeA: transposeA, b,
            transposeB: transposeB, beta: beta, into: c)
        }
      }
    }
  }

  /// C ← A · Bᵀ, as a plan's C steps call it.
  static let multiplyByTransposed:
    @convention(c) (
      UnsafePointer<Float>?, UnsafePointer<Float>?, UnsafeMutablePointer<Float>?, Int, Int, Int
    ) -> Void = { a, b, c, rows, columns, depth in
      cblas_sgemm(
        CblasRowMajor, CblasNoTrans, CblasTrans, Int32(rows), Int32(columns), Int32(depth), 1,
        a, Int32(depth), b, Int32(depth), 0, c, Int32(columns))
    }
}
