/// Bounds of cached answers.
extension Limits {
  /// Bytes of one cached answer with its rows: larger ones would drive many small ones out, and gain little, for what is
  /// copied takes as long as a small plan.
  public static let cacheEntryBytesMax = 64 << 10
  /// Least `cache.bytes_max` for each event loop.
  public static let cacheLoopBytesMin = 64 << 10
}
