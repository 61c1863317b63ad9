/// Which answers are cached, and how many.
public struct CacheOptions: Sendable, Equatable {
  /// Bytes of all loops together.
  public var bytesMax: Int
  /// Names of models; nil: all.
  public var models: [String]?

  public init(bytesMax: Int, models: [String]? = nil) {
    self.bytesMax = bytesMax
    self.models = models
  }
}
