internal import FoundationEssentials
internal import NeedletailBundle
internal import NeedletailModels
internal import NeedletailObjectStore

extension ServerConfiguration {
  /// Settings of a store in a bucket; nil: the store is a directory.
  ///
  /// - Throws: for `s3://…` that names no bucket, and where its cache has no place.
  func bucketStore() throws(ConfigurationError) -> BucketStore.Configuration? {
    guard ObjectStoreLocation.isLocation(store) else {
      guard storeCache == nil else {
        throw ConfigurationError("--store-cache: expected --store s3://BUCKET/PREFIX beside it, found a directory")
      }
      return nil
    }
    let environment = ProcessInfo.processInfo.environment
    guard let cache = storeCache ?? stateDirectory.map({ $0 + "/store-cache" }) else {
      throw ConfigurationError(
        "--store \(store): expected --state-directory or --store-cache beside it, so that a restart does not need the "
          + "bucket, found neither")
    }
    do throws(ObjectStoreError) {
      return BucketStore.Configuration(
        try ObjectStoreLocation(store, environment: environment), environment: environment, cache: cache,
        cacheBytesMax: UInt64(storeCacheBytesMax))
    } catch {
      throw ConfigurationError("--store: \(error)")
    }
  }

  /// The store for people, without the options of a bucket.
  var storeName: String { store.split(separator: "?", maxSplits: 1).first.map { String($0) } ?? store }

  /// Checks the store before the server starts. A bucket is not asked: a server starts without it.
  ///
  /// - Throws: if the store is no directory.
  func checkStore() throws(ConfigurationError) {
    if try bucketStore() == nil { try checkDirectory() }
  }

  /// Asks the bucket, if the store is one, whether this server may list it.
  ///
  /// - Throws: if it refuses. One that is out of reach may be back when the server starts.
  func askStore() throws(ConfigurationError) {
    guard let bucket = try bucketStore() else { return }
    do throws(ObjectStoreError) {
      _ = try Bucket(bucket.location, environment: bucket.environment).list(objectsMax: 1)
    } catch {
      throw ConfigurationError("--store: \(error)", mayPass: error.isTransient)
    }
  }

  private func checkDirectory() throws(ConfigurationError) {
    let kind = (try? FileManager.default.attributesOfItem(atPath: store))?[.type] as? FileAttributeType
    guard let kind else { throw ConfigurationError("--store \(store): expected a directory, found nothing") }
    // The scan of the store follows the link.
    guard kind == .typeDirectory || kind == .typeSymbolicLink else {
      throw ConfigurationError("--store \(store): expected a directory, found a file")
    }
  }
}
