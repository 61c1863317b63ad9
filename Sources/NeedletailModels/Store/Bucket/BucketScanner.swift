internal import NeedletailBundle
internal import NeedletailCore
internal import NeedletailObjectStore

/// Sorts the objects of a bucket into a snapshot, by the rules of ``DirectoryScanner``: names that begin with a dot are
/// ignored, and anything else in the wrong place is a problem.
struct BucketScanner {
  /// Bundles and problems; rollout files are read later.
  private(set) var snapshot = StoreSnapshot()
  private(set) var rollouts: [ModelID: BucketObject] = [:]
  private var problems = ProblemList()
  private var models: Set<ModelID> = []

  /// - Parameters:
  ///   - place: name of the bucket and prefix, for people.
  ///   - limits: sizes beyond which an object is no bundle.
  init(_ listing: Bucket.Listing, place: String, limits: BundleLimits) {
    if listing.isCut { problems.add("", "more than \(Limits.bucketObjectsMax) objects, the rest is ignored") }
    for object in listing.objects { add(object, place: place, limits: limits) }
    snapshot.bundles.sort { $0.key < $1.key }
    dropOldest()
  }

  private mutating func add(_ object: BucketObject, place: String, limits: BundleLimits) {
    let parts = object.path.split(separator: "/", omittingEmptySubsequences: false)
    // Programs that show a bucket as folders make an object for a folder, whose key ends with a slash.
    guard !parts.contains(where: { $0.hasPrefix(".") }), parts.last?.isEmpty == false else { return }
    guard parts.count == 2 else {
      problems.add(object.path, "expected <model>/<version>.ntb, found an object in another place")
      return
    }
    let model: ModelID
    do throws(ServingError) { model = try ModelID(String(parts[0])) } catch {
      problems.add(object.path, error.message)
      return
    }
    guard models.contains(model) || models.count < Limits.storeModelsMax else {
      problems.add(object.path, "more than \(Limits.storeModelsMax) models, the rest is ignored")
      return
    }
    models.insert(model)
    if parts[1] == RolloutFile.name {
      rollouts[model] = object
      return
    }
    guard let version = BundleBucket.version(parts[1]) else {
      problems.add(
        object.path, "expected <version>.ntb with a decimal version from 1, found \(parts[1].quotedForMessage)")
      return
    }
    let isTooLarge = object.bytes > UInt64(clamping: limits.fileBytesMax)
    snapshot.bundles.append(
      StoredBundle(
        key: VersionKey(model, version), place: "\(place)/\(object.path)",
        fingerprint: StoreFingerprint(object.tag), bytes: object.bytes,
        // An object appears whole or not at all.
        completeness: isTooLarge
          ? .notABundle(
            BundleError(
              .oversized, "\(object.path): expected at most \(limits.fileBytesMax) bytes, found \(object.bytes)"))
          : .complete))
  }

  /// Keeps the newest versions of each model.
  private mutating func dropOldest() {
    var counts: [ModelID: Int] = [:]
    for bundle in snapshot.bundles { counts[bundle.key.model, default: 0] += 1 }
    for (model, count) in counts.sorted(by: { $0.key < $1.key }) where count > Limits.storeVersionsMax {
      problems.add(model.name, "more than \(Limits.storeVersionsMax) versions, the oldest are ignored")
      var surplus = count - Limits.storeVersionsMax
      snapshot.bundles.removeAll { bundle in
        guard bundle.key.model == model, surplus > 0 else { return false }
        surplus -= 1
        return true
      }
    }
  }

  /// A rollout file that was read, or could not be.
  mutating func add(_ finding: RolloutFinding, of model: ModelID) {
    snapshot.rollouts[model] = finding
    if case .invalid(let problem) = finding { problems.add("\(model)/\(RolloutFile.name)", problem) }
  }

  /// A part of the store of which nothing is known.
  mutating func markUnreadable(_ model: ModelID, problem: String?) {
    snapshot.unreadableModels.insert(model)
    if let problem { problems.add("\(model)/\(RolloutFile.name)", problem) }
  }

  func finish() -> StoreSnapshot {
    var snapshot = snapshot
    snapshot.problems = problems.finish()
    return snapshot
  }
}
