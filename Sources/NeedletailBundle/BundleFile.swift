/// A private copy of a bundle's bytes, read once: what was verified is what is decoded, whatever
/// happens to the file meanwhile.
///
/// `@unchecked Sendable`: the memory is written before `init` returns and only read afterwards.
public final class BundleFile: @unchecked Sendable {
  /// Bytes.
  public let count: Int

  public init(bytes: [UInt8]) { count = bytes.count }

  /// Reads the whole file into private memory.
  public static func open(path: String, limits: BundleLimits = BundleLimits()) throws(BundleError) -> BundleFile {
    fatalError()
  }

  /// Whether a file in the store is whole.
  public enum Completeness: Sendable, Equatable {
    case complete
    /// Its length disagrees with its header: still being written. Bytes; while there is no whole header
    /// yet, `expected` is that of a header.
    case incomplete(found: UInt64, expected: UInt64)
    case notABundle(BundleError)
  }

  /// Compares the length of a file with its header, reading only that.
  public static func isComplete(path: String, limits: BundleLimits = BundleLimits()) -> Completeness {
    fatalError()
  }
}
