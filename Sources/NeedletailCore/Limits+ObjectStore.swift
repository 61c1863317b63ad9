/// Bounds on object storage.
extension Limits {
  /// Objects of one bucket that a listing looks at: a hundred requests.
  public static let bucketObjectsMax = 100_000
  /// Bytes of bundles that the cache of an object store keeps; default of `store_cache_bytes_max`.
  public static let storeCacheBytesMaxDefault = 16 << 30
}
