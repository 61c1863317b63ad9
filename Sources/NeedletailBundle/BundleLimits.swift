public import NeedletailCore

/// Bounds that an operator may move; all others stand in `Limits`.
public struct BundleLimits: Sendable, Equatable {
  /// Bytes of one file.
  public var fileBytesMax: Int
  /// Raw bytes of all sections of one file together.
  public var rawBytesMax: Int

  public init(
    fileBytesMax: Int = Limits.bundleBytesMaxDefault, rawBytesMax: Int = Limits.bundleRawBytesMaxDefault
  ) {
    self.fileBytesMax = fileBytesMax
    self.rawBytesMax = rawBytesMax
  }
}
