internal import NeedletailCore
internal import NeedletailMetrics
internal import NeedletailServing

extension ServerConfiguration {
  /// - Returns: nil where no answers are to be cached.
  static func cache(_ values: SettingValues) throws(ConfigurationError) -> CacheOptions? {
    let bytes = try values.integer(.cacheBytes)
    let names = values.names(.cacheModels)
    guard bytes > 0 else {
      guard names == nil else {
        throw ConfigurationError("cache.models: expected cache.bytes_max beside it, found none")
      }
      return nil
    }
    for name in names ?? [] {
      do throws(ServingError) { _ = try ModelID(name) } catch {
        throw ConfigurationError("cache.models: \(error.message)")
      }
    }
    return CacheOptions(bytesMax: bytes, models: names)
  }

  /// Makes the cache of each loop.
  func caches(loops: Int, _ metrics: MetricsRegistry) throws(ConfigurationError) -> [ResponseCache]? {
    guard let cache else { return nil }
    guard cache.bytesMax >= loops * Limits.cacheLoopBytesMin else {
      throw ConfigurationError(
        "cache.bytes_max: expected at least \(Limits.cacheLoopBytesMin) bytes for each of \(loops) event loops, found "
          + "\(cache.bytesMax) for all")
    }
    let counters = CacheCounters(metrics: metrics)
    let seed = UInt64.random(in: 0 ... .max)
    var caches: [ResponseCache] = []
    for shard in 0..<loops {
      guard let made = ResponseCache(cache, loops: loops, seed: seed, counters: counters, shard: shard) else {
        throw ConfigurationError("cache.bytes_max: expected memory for \(cache.bytesMax) bytes, found too little")
      }
      caches.append(made)
    }
    return caches
  }
}

extension ServerSetting {
  static let cacheBytes = ServerSetting(
    "cache.bytes_max", .integer(0...(1 << 36)), default: "0",
    "Bytes of answers, with the rows that were asked, that all event loops keep to answer the same rows again; 0 keeps none"
  )
  static let cacheModels = ServerSetting(
    "cache.models", .names, "Names, separated by commas: only answers of these models are kept; without it those of all"
  )
}
