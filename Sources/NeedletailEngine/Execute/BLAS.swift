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
  ) { fatalError("not yet") }

  /// The same on arrays.
  public static func sgemm(
    rows: Int, columns: Int, depth: Int, alpha: Float = 1,
    _ a: [Float], transposeA: Bool = false, _ b: [Float], transposeB: Bool = false,
    beta: Float = 0, into c: inout [Float]
  ) { fatalError("not yet") }
}
