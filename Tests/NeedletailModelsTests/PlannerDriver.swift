import NeedletailBundle
import NeedletailCore
import NeedletailModels
import Testing

/// A planner, the files it sees and a clock that only the test moves.
struct PlannerDriver {
  typealias Action = StorePlanner.Action

  var planner: StorePlanner
  var files: [VersionKey: StoreFile] = [:]
  var unreadable: Set<ModelID> = []
  var isReadable = true
  var now = Moment(instant: Instant(nanoseconds: 1_000_000_000), milliseconds: 1_000)
  private var nextInode: UInt64 = 1

  init(keep: Int = 1) {
    planner = StorePlanner(policy: VersionPolicy(keep: keep))
  }

  /// One that brought these versions of `m` up, one after the other.
  static func live(_ versions: ClosedRange<UInt64>, keep: Int = 1) -> PlannerDriver {
    var driver = PlannerDriver(keep: keep)
    for version in versions {
      driver.put(version)
      driver.settle()
    }
    return driver
  }

  static func key(_ version: UInt64, _ model: String = "m") -> VersionKey {
    VersionKey(try! ModelID(model), ModelVersion(version)!)
  }

  static func identity(_ digest: String) -> StorePlanner.Identity { .init(digest: digest, signer: "release") }

  /// A new file at this place: another inode.
  mutating func put(
    _ version: UInt64, _ model: String = "m", _ completeness: BundleFile.Completeness = .complete
  ) {
    let key = Self.key(version, model)
    files[key] = StoreFile(
      key: key, path: "/store/\(model)/\(version).ntb",
      fingerprint: FileFingerprint(
        inode: nextInode, bytes: 100, modifiedNanoseconds: Int64(nextInode), changedNanoseconds: 0),
      completeness: completeness)
    nextInode += 1
  }

  mutating func take(_ version: UInt64, _ model: String = "m") { files[Self.key(version, model)] = nil }

  mutating func advance(milliseconds: UInt64) {
    now.instant = now.instant.advanced(byMicroseconds: milliseconds * 1000)
    now.milliseconds += milliseconds
  }

  mutating func scan() -> [Action] {
    var snapshot = StoreSnapshot()
    snapshot.isReadable = isReadable
    snapshot.unreadableModels = unreadable
    if isReadable {
      snapshot.files = files.values.filter { !unreadable.contains($0.key.model) }.sorted { $0.key < $1.key }
    }
    return planner.observe(snapshot, now: now)
  }

  /// The loader's way to the end.
  mutating func succeed(_ version: UInt64, _ model: String = "m", digest: String? = nil) -> [Action] {
    let key = Self.key(version, model)
    let identity = Self.identity(digest ?? "digest-\(version)")
    var actions = planner.advanced(key, to: .loading, identity: identity, now: now)
    actions += planner.advanced(key, to: .checking, now: now)
    actions += planner.advanced(key, to: .warming, now: now)
    return actions + planner.loaded(key, .live(identity, residentBytes: 10), now: now)
  }

  mutating func refuse(
    _ version: UInt64, _ model: String = "m", label: String = "bad_hash", isTransient: Bool = false
  ) -> [Action] {
    planner.loaded(
      Self.key(version, model),
      .rejected(Rejection(label: label, message: "refused: \(label)", isTransient: isTransient)), now: now)
  }

  /// - Parameter refusing: versions of `m` whose key was revoked.
  mutating func trustChanged(refusing versions: [UInt64] = []) -> [Action] {
    let refused = versions.map { (Self.key($0), Rejection(label: "revoked", message: "key revoked")) }
    return planner.trustChanged(refused: Dictionary(uniqueKeysWithValues: refused), now: now)
  }

  mutating func inspect(_ version: UInt64, _ outcome: StorePlanner.InspectOutcome) -> [Action] {
    planner.inspected(Self.key(version), outcome, now: now)
  }

  /// Performs scans and loads until nothing is left to load; every load succeeds.
  mutating func settle() {
    var actions = scan()
    while let load = actions.loads.first {
      actions = succeed(load.key.version.number, load.key.model.name)
    }
  }

  func version(_ number: UInt64, _ model: String = "m") -> VersionStatus? {
    planner.status.model(model)?.version(number)
  }

  func state(_ number: UInt64, _ model: String = "m") -> VersionState? { version(number, model)?.state }

  func serving(_ model: String = "m") -> UInt64? { planner.status.model(model)?.serving?.number }
}

extension [StorePlanner.Action] {
  var loads: [StorePlanner.LoadRequest] {
    compactMap { if case .load(let request) = $0 { request } else { nil } }
  }

  var inspections: [StorePlanner.LoadRequest] {
    compactMap { if case .inspect(let request) = $0 { request } else { nil } }
  }

  var states: [VersionState] {
    compactMap { if case .report(let event) = $0 { event.state } else { nil } }
  }

  var reasons: [String] {
    compactMap { if case .report(let event) = $0 { event.reason } else { nil } }
  }

  var rejections: [String] {
    compactMap { if case .count(let rejection, _) = $0 { rejection.label } else { nil } }
  }

  var alarms: [UInt64] {
    compactMap { if case .distrust(let key, .some) = $0 { key.version.number } else { nil } }
  }

  var releases: [UInt64] {
    compactMap { if case .release(let key) = $0 { key.version.number } else { nil } }
  }

  var forgotten: [UInt64] {
    compactMap { if case .forget(let key) = $0 { key.version.number } else { nil } }
  }
}
