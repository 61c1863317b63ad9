internal import COpenBLAS

/// OpenBLAS, kept on one thread: Needletail owns its threads.
///
/// It is a module of its own because loading OpenBLAS starts threads, which the engine inside of another program's process
/// must not.
public enum BLAS {
  /// Stops OpenBLAS from waking its own threads. Idempotent; call it before anything else computes.
  public static func useOneThread() { openblas_set_num_threads(1) }

  /// C ← A · Bᵀ, all row-major and dense: what a relaxed plan may compute large layers with.
  ///
  /// `a` is `rows × depth`, `b` is `columns × depth`, and `c`, which need not be initialised, is `rows × columns`.
  public static let product:
    @Sendable @convention(c) (
      _ a: UnsafePointer<Float>?, _ b: UnsafePointer<Float>?, _ c: UnsafeMutablePointer<Float>?,
      _ rows: Int, _ columns: Int, _ depth: Int
    ) -> Void = { a, b, c, rows, columns, depth in
      cblas_sgemm(
        CblasRowMajor, CblasNoTrans, CblasTrans, Int32(rows), Int32(columns), Int32(depth), 1,
        a, Int32(depth), b, Int32(depth), 0, c, Int32(columns))
    }
}
