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

  /// One side of a product: a row-major matrix, as it stands or turned.
  public struct Operand {
    let start: UnsafePointer<Float>
    let stride: Int
    let isTransposed: Bool

    /// - Parameters:
    ///   - stride: floats from one row in memory to the next.
    ///   - isTransposed: whether columns in memory are the rows of the product.
    public init(_ start: UnsafePointer<Float>, stride: Int, isTransposed: Bool = false) {
      (self.start, self.stride, self.isTransposed) = (start, stride, isTransposed)
    }

    /// The same matrix with rows and columns exchanged.
    public var transposed: Operand { Operand(start, stride: stride, isTransposed: !isTransposed) }

    /// The rows of the product from one on.
    public func from(row: Int) -> Operand {
      Operand(start + (isTransposed ? row : row * stride), stride: stride, isTransposed: isTransposed)
    }
  }

  /// x ← factor · x
  public static func scale(_ x: UnsafeMutablePointer<Float>, count: Int, by factor: Float) {
    cblas_sscal(Int32(count), factor, x, 1)
  }

  /// C ← factor · A · B + kept · C, all row-major. Any number of threads may call it at once.
  ///
  /// - Parameters:
  ///   - a: `rows × depth`.
  ///   - b: `depth × columns`.
  ///   - c: `rows × columns`, in rows of `stride` floats.
  ///   - kept: 0 writes over what C holds, which then need not be initialised.
  public static func multiply(
    _ a: Operand, _ b: Operand, into c: UnsafeMutablePointer<Float>, stride: Int, rows: Int, columns: Int, depth: Int,
    factor: Float = 1, kept: Float = 0
  ) {
    cblas_sgemm(
      CblasRowMajor, a.isTransposed ? CblasTrans : CblasNoTrans, b.isTransposed ? CblasTrans : CblasNoTrans,
      Int32(rows), Int32(columns), Int32(depth), factor, a.start, Int32(a.stride), b.start, Int32(b.stride), kept, c,
      Int32(stride))
  }
}
