import NeedletailBundle
import NeedletailCore
import NeedletailModels
import Testing

/// A reconciler, the bundles it sees and a clock that only the test moves.
struct ReconcilerDriver {
  typealias Action = Reconciler.Action

  var reconciler: Reconciler
  var files: [VersionKey: StoredBundle] = [:]
  var rolloutFiles: [ModelID: RolloutFinding] = [:]
  var unreadable: Set<ModelID> = []
  var isReadable = true
  var now = Moment(instant: Instant(nanoseconds: 1_000_000_000), milliseconds: 1_000)
  private var nextFile = 1

  init(keep: Int = 1, readiness: ReadinessPolicy = .allModels, memories: [ModelID: RolloutMemory] = [:]) {
    reconciler = Reconciler(policy: VersionPolicy(keep: keep), readiness: readiness, memories: memories)
  }

  /// SIGKILL and a new start: what is on the disk is left.
  mutating func restart(keep: Int = 1, readiness: ReadinessPolicy = .allModels) {
    reconciler = Reconciler(
      policy: VersionPolicy(keep: keep), readiness: readiness, memories: reconciler.rollouts.mapValues(\.memory))
  }

  /// Puts a rollout file beside the bundles; nil takes it away.
  mutating func order(_ yaml: String?, _ model: String = "m") throws {
    rolloutFiles[try ModelID(model)] = try yaml.map { .file(try RolloutFile(parsing: $0)) }
  }

  /// One that brought these versions of `m` up, one after the other.
  static func live(_ versions: ClosedRange<UInt64>, keep: Int = 1) -> ReconcilerDriver {
    var driver = ReconcilerDriver(keep: keep)
    for version in versions {
      driver.put(version)
      driver.settle()
    }
    return driver
  }

  static func key(_ version: UInt64, _ model: String = "m") -> VersionKey {
    VersionKey(try! ModelID(model), ModelVersion(version)!)
  }

  static func identity(_ digest: String) -> Reconciler.Identity { .init(digest: digest, signer: "release") }

  /// A new file at this place: another fingerprint.
  mutating func put(
    _ version: UInt64, _ model: String = "m", _ completeness: BundleFile.Completeness = .complete
  ) {
    let key = Self.key(version, model)
    files[key] = StoredBundle(
      key: key, place: "/store/\(model)/\(version).ntb", fingerprint: StoreFingerprint("file \(nextFile)"), bytes: 100,
      completeness: completeness)
    nextFile += 1
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
      snapshot.rollouts = rolloutFiles.filter { !unreadable.contains($0.key) }
      snapshot.bundles = files.values.filter { !unreadable.contains($0.key.model) }.sorted { $0.key < $1.key }
    }
    return reconciler.observe(snapshot, now: now)
  }

  /// The loader's way to the end.
  mutating func succeed(_ version: UInt64, _ model: String = "m", digest: String? = nil) -> [Action] {
    let key = Self.key(version, model)
    let identity = Self.identity(digest ?? "digest-\(version)")
    var actions = reconciler.advanced(key, to: .loading, identity: identity, now: now)
    actions += reconciler.advanced(key, to: .checking, now: now)
    actions += reconciler.advanced(key, to: .warming, now: now)
    return actions + reconciler.loaded(key, .live(identity, residentBytes: 10), now: now)
  }

  mutating func refuse(
    _ version: UInt64, _ model: String = "m", label: String = "bad_hash", isTransient: Bool = false
  ) -> [Action] {
    reconciler.loaded(
      Self.key(version, model),
      .rejected(Rejection(label: label, message: "refused: \(label)", isTransient: isTransient)), now: now)
  }

  /// - Parameter refusing: versions of `m` whose key was revoked.
  mutating func trustChanged(refusing versions: [UInt64] = []) -> [Action] {
    let refused = versions.map { (Self.key($0), Rejection(label: "revoked", message: "key revoked")) }
    return reconciler.trustChanged(refused: Dictionary(uniqueKeysWithValues: refused), now: now)
  }

  mutating func inspect(_ version: UInt64, _ outcome: Reconciler.InspectOutcome) -> [Action] {
    reconciler.inspected(Self.key(version), outcome, now: now)
  }

  /// Performs scans and loads until nothing is left to load; every load succeeds.
  mutating func settle() {
    var actions = scan()
    while let load = actions.loads.first {
      actions = succeed(load.key.version.number, load.key.model.name)
    }
  }

  func version(_ number: UInt64, _ model: String = "m") -> VersionStatus? {
    reconciler.status.model(model)?.version(number)
  }

  func state(_ number: UInt64, _ model: String = "m") -> VersionState? { version(number, model)?.state }

  func serving(_ model: String = "m") -> UInt64? { reconciler.status.model(model)?.serving?.number }
}

extension [Reconciler.Action] {
  var loads: [Reconciler.LoadRequest] {
    compactMap { if case .load(let request) = $0 { request } else { nil } }
  }

  var inspections: [Reconciler.LoadRequest] {
    compactMap { if case .inspect(let request) = $0 { request } else { nil } }
  }

  var states: [VersionState] {
    compactMap { if case .tell(.state(let event)) = $0 { event.state } else { nil } }
  }

  var reasons: [String] {
    compactMap { if case .tell(.state(let event)) = $0 { event.reason } else { nil } }
  }

  var rejections: [String] {
    compactMap { if case .tell(.rejected(let rejection, _)) = $0 { rejection.label } else { nil } }
  }

  var alarms: [UInt64] {
    compactMap { if case .tell(.trust(let key, .some)) = $0 { key.version.number } else { nil } }
  }

  var releases: [UInt64] {
    compactMap { if case .release(let key) = $0 { key.version.number } else { nil } }
  }

  /// Names of the actions; several of one kind in a row are one.
  var steps: [String] {
    var steps: [String] = []
    for action in self {
      let step =
        switch action {
        case .remember: "remember"
        case .publish: "publish"
        case .tell: "tell"
        case .release: "release"
        case .load: "load"
        case .inspect: "inspect"
        }
      if steps.last != step { steps.append(step) }
    }
    return steps
  }
}
