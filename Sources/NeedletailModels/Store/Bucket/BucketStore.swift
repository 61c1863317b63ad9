public import NeedletailBundle
public import NeedletailCore
public import NeedletailMetrics
public import NeedletailObjectStore
internal import NeedletailSystem
internal import Synchronization

/// A store in an S3-compatible bucket: `s3://BUCKET/PREFIX/<model>/<version>.ntb` and `rollout.yaml` beside the bundles.
///
/// A snapshot is one whole listing. Bundles are read through a ``BundleCache``. While the store is out of reach, what is
/// live stays so, and a server that starts loads what the cache holds.
public final class BucketStore: StoreSource {
  /// Settings of the store and of its cache.
  public struct Configuration: Sendable {
    public var location: ObjectStoreLocation
    /// Variables with credentials, or with the path of their file.
    public var environment: [String: String]
    /// Directory of the cache.
    public var cache: String
    public var cacheBytesMax: UInt64

    public init(
      _ location: ObjectStoreLocation, environment: [String: String], cache: String,
      cacheBytesMax: UInt64 = UInt64(Limits.storeCacheBytesMaxDefault)
    ) {
      self.location = location
      self.environment = environment
      self.cache = cache
      self.cacheBytesMax = cacheBytesMax
    }

    /// Makes the directory of the cache: a mistake shows at the start.
    ///
    /// - Throws: `.io`.
    public func prepareCache() throws(BundleError) { _ = try makeCache { _ in } }

    fileprivate func makeCache(
      record: @escaping @Sendable (BundleCache.Outcome) -> Void
    ) throws(BundleError) -> BundleCache {
      try BundleCache(
        cache, store: "\(location.endpoint) \(location.name)", bytesMax: cacheBytesMax, record: record)
    }
  }

  private struct State {
    /// Whether the store was listed since the start.
    var hasListed = false
    /// Fault by which the present outage began, and when; nil: the store was in reach at last.
    var outage: (reason: String, since: Instant)?
    /// Tokens of the last listing.
    var tags: [VersionKey: String] = [:]
    var rollouts: [ModelID: (tag: String, finding: RolloutFinding)] = [:]
  }

  private let bundles: BundleBucket
  private let cache: BundleCache
  private let metrics: BucketMetrics
  private let eventLog: EventLog
  private let wakeup = Wakeup()
  private let state = Mutex(State())

  private var bucket: Bucket { bundles.bucket }
  private var name: String { bucket.location.name }

  /// Makes no request: a server starts without its store.
  ///
  /// - Throws: `.io` for wrong settings, or a cache that cannot be made.
  public init(
    _ configuration: Configuration, metrics registry: MetricsRegistry, eventLog: EventLog
  ) throws(BundleError) {
    let metrics = BucketMetrics(registry)
    self.metrics = metrics
    self.eventLog = eventLog
    do throws(ObjectStoreError) {
      bundles = BundleBucket(
        try Bucket(configuration.location, environment: configuration.environment, observer: metrics))
    } catch {
      throw BundleError(error)
    }
    let cache = try configuration.makeCache { metrics.cacheReads($0).add() }
    self.cache = cache
    registry.sampled(
      "needletail_store_cache_bytes", kind: .gauge, help: "Bytes of bundles in the cache of the object store."
    ) { Double(cache.bytes) }
  }

  // MARK: listing

  public func snapshot(limits: BundleLimits) -> StoreSnapshot {
    let listing: Bucket.Listing
    do throws(ObjectStoreError) {
      listing = try bucket.list()
    } catch {
      return missing(error, limits)
    }
    var scanner = BucketScanner(listing, place: name, limits: limits)
    readRollouts(into: &scanner)
    let snapshot = scanner.finish()
    let outage = state.withLock { state in
      defer { state.outage = nil }
      state.hasListed = true
      state.tags = Dictionary(uniqueKeysWithValues: snapshot.bundles.map { ($0.key, $0.fingerprint.token) })
      return state.outage
    }
    metrics.reachable.set(1)
    metrics.listed.set(Double(UnixTime.nowMilliseconds()) / 1000)
    if let outage {
      let seconds = Instant.now().microseconds(since: outage.since) / 1_000_000
      eventLog.emit(
        .store, .notice, "store within reach again", [.init("store", name), .init("seconds", "\(seconds)")])
    }
    // A listing that was cut does not say what is gone.
    if !listing.isCut { cache.prune(keeping: snapshot.bundles, rollouts: Set(scanner.rollouts.keys)) }
    return snapshot
  }

  /// The snapshot of a store that cannot be listed: nothing is known, unless nothing was known before. Then what the
  /// cache holds is better than nothing.
  private func missing(_ error: ObjectStoreError, _ limits: BundleLimits) -> StoreSnapshot {
    metrics.reachable.set(0)
    let (reason, hasListed) = state.withLock { state in
      // The first fault stands for the whole outage: others that follow are no news.
      let outage = state.outage ?? (error.message, Instant.now())
      state.outage = outage
      return (outage.reason, state.hasListed)
    }
    var snapshot = hasListed ? StoreSnapshot() : cached(limits)
    snapshot.isReadable = !snapshot.bundles.isEmpty
    snapshot.problems = [StoreProblem(path: "", reason: "store out of reach: \(reason)")] + snapshot.problems
    return snapshot
  }

  private func cached(_ limits: BundleLimits) -> StoreSnapshot {
    var listing = Bucket.Listing()
    var seen: Set<VersionKey> = []
    for entry in cache.entries() where seen.insert(entry.key).inserted {
      listing.objects.append(
        BucketObject(
          path: BundleBucket.path(of: entry.key.model, entry.key.version), tag: entry.tag, bytes: entry.bytes))
    }
    var scanner = BucketScanner(listing, place: name, limits: limits)
    for (model, text) in cache.rollouts() { scanner.add(Self.finding(text), of: model) }
    return scanner.finish()
  }

  /// Reads the rollout files that have changed.
  private func readRollouts(into scanner: inout BucketScanner) {
    var known = state.withLock { $0.rollouts }
    for (model, object) in scanner.rollouts.sorted(by: { $0.key < $1.key }) {
      if let last = known[model], last.tag == object.tag {
        scanner.add(last.finding, of: model)
        continue
      }
      do throws(ObjectStoreError) {
        let bytes = try bucket.read(object.path, tag: object.tag, bytesMax: Limits.rolloutFileBytesMax)
        guard let text = String(validating: bytes, as: UTF8.self) else {
          scanner.add(.invalid("expected UTF-8 text, found other bytes"), of: model)
          continue
        }
        let finding = Self.finding(text)
        known[model] = (object.tag, finding)
        scanner.add(finding, of: model)
        keep(text, of: model)
      } catch {
        // One that has just been replaced or removed shows in the next listing.
        let isReplaced = error.reason == .conditionFailed || error.reason == .notFound
        scanner.markUnreadable(model, problem: isReplaced ? nil : error.message)
      }
    }
    known = known.filter { scanner.rollouts[$0.key] != nil }
    state.withLock { $0.rollouts = known }
  }

  private func keep(_ text: String, of model: ModelID) {
    do throws(BundleError) {
      try cache.keep(rollout: text, of: model)
    } catch {
      eventLog.emit(
        .store, .warning, "rollout file not kept for a start without the store", model: model,
        [.init("reason", error.message)])
    }
  }

  private static func finding(_ text: String) -> RolloutFinding {
    do { return .file(try RolloutFile(parsing: text)) } catch { return .invalid("\(error)") }
  }

  public func waitForChange(atMost duration: Duration) {
    // A bucket tells of no changes. Servers that started together must not list it together for ever.
    let parts = duration.components
    let microseconds =
      UInt64(clamping: parts.seconds) &* 1_000_000 &+ UInt64(clamping: parts.attoseconds / 1_000_000_000_000)
    wakeup.wait(until: .now().advanced(byMicroseconds: UInt64.random(in: microseconds / 4 * 3...microseconds)))
  }

  public func wake() { wakeup.signal() }

  // MARK: reading

  public func read(_ bundle: StoredBundle, limits: BundleLimits) throws(StoreReadError) -> StoredCopy {
    let tag = bundle.fingerprint.token
    if let file = cache.open(bundle.key, tag: tag, limits: limits) {
      return StoredCopy(file: file, fingerprint: bundle.fingerprint)
    }
    let object = BucketObject(
      path: BundleBucket.path(of: bundle.key.model, bundle.key.version), tag: tag, bytes: bundle.bytes)
    var isChanged = false
    do throws(BundleError) {
      let file = try cache.add(bundle.key, tag: tag, bytes: bundle.bytes, limits: limits) {
        (file) throws(BundleError) in
        do throws(ObjectStoreError) {
          return try bucket.download(object, into: file)
        } catch {
          isChanged = error.reason == .conditionFailed || error.reason == .notFound
          throw BundleError(error)
        }
      }
      return StoredCopy(file: file, fingerprint: bundle.fingerprint)
    } catch {
      if isChanged { throw .changed }
      throw .failed(error)
    }
  }

  public func fingerprint(of key: VersionKey) -> StoreFingerprint? {
    do throws(ObjectStoreError) {
      return try bucket.head(BundleBucket.path(of: key.model, key.version)).map { StoreFingerprint($0.tag) }
    } catch {
      // Out of reach: what was listed last, or kept, still counts.
      let tag = state.withLock { $0.tags[key] } ?? cache.entries().first { $0.key == key }?.tag
      return tag.map { StoreFingerprint($0) }
    }
  }

  // MARK: writing

  public func publish(_ bytes: [UInt8], as key: VersionKey, replace: Bool) throws(BundleError) -> String {
    try bundles.publish(bytes, model: key.model, version: key.version, replace: replace)
  }

  public func writeRollout(_ text: String, of model: ModelID) throws(BundleError) -> String {
    try bundles.writeRollout(text, of: model)
  }
}
