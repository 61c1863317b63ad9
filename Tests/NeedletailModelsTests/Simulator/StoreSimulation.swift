import NeedletailCore
import NeedletailModels
import NeedletailTestSupport

/// A reconciler between a file system, a loader, a trust file and a clock that are all simulated: what
/// happens next is drawn from a seed, and after everything that happens the invariants are checked.
struct StoreSimulation {
  struct Violation: Error, CustomStringConvertible {
    let description: String
  }

  private static let keep = 1
  private static let steps = 70

  private var random: SplitMix64
  private var files = SimulatedFiles()
  private var reconciler = Reconciler(policy: VersionPolicy(keep: keep))
  private var now = Moment(instant: Instant(nanoseconds: 1_000_000_000), milliseconds: 1_000)
  private var revoked: Set<String> = []
  private var ledger = AcceptanceLedger(keep: keep)
  /// What the loader has in hand, as it was read.
  private var inHand: (request: Reconciler.LoadRequest, read: SimulatedFile?, revoked: Set<String>)?
  private var isInspecting = false
  /// In memory: loaded, and not let go.
  private var live: [VersionKey: SimulatedBundle] = [:]
  private var alarms: Set<VersionKey> = []
  private var releasing: [VersionKey] = []
  private var table: [ModelID: Reconciler.TableEntry] = [:]
  private var wasReady = false
  private(set) var history: [String] = []

  init(seed: UInt64) { random = SplitMix64(seed: seed) }

  /// Runs one seed to its end.
  /// - Throws: ``Violation``.
  mutating func run() throws(Violation) {
    for _ in 0..<Self.steps { try step() }
    try converge()
  }

  private mutating func step() throws(Violation) {
    advance(milliseconds: random.next() % (random.next() % 8 == 0 ? 90_000 : 500))
    switch random.next() % 20 {
    case 0...7: note(files.change(&random))
    case 8...11: try scan()
    case 12...15: try work()
    case 16: try letGo()
    case 17: note(files.hideOrShow(&random))
    case 18: try changeTrust()
    default: if random.next() % 4 == 0 { restart() }
    }
  }

  private mutating func note(_ text: String) { if !text.isEmpty { history.append(text) } }

  private mutating func advance(milliseconds: UInt64) {
    now.instant = now.instant.advanced(byMicroseconds: milliseconds * 1000)
    now.milliseconds += milliseconds
  }

  // MARK: what happens

  private mutating func scan() throws(Violation) {
    note("scan")
    try perform(reconciler.observe(files.snapshot(), now: now))
  }

  /// The loader gets on, or ends.
  private mutating func work() throws(Violation) {
    guard let (request, read, trustThen) = inHand else { return }
    let key = request.key
    if !isInspecting, random.next() % 3 == 0 {
      // In between; what was read stays what it is.
      return try perform(reconciler.advanced(key, to: .loading, now: now))
    }
    inHand = nil
    let refusal = verdict(on: read, request, trust: trustThen)
    let hasChanged = files[key]?.fingerprint != request.bundle.fingerprint
    note("loader ends \(key): \(refusal?.label ?? "good")\(hasChanged ? ", changed" : "")")
    if isInspecting {
      isInspecting = false
      guard let read, !hasChanged || refusal == nil else {
        return try perform(reconciler.inspected(key, .changed, now: now))
      }
      return try perform(
        reconciler.inspected(
          key, refusal.map { .rejected($0) } ?? .verified(digest: read.bundle.digest), now: now))
    }
    guard let read, !hasChanged || refusal == nil else {
      return try perform(reconciler.loaded(key, .changed, now: now))
    }
    if let refusal { return try perform(reconciler.loaded(key, .rejected(refusal), now: now)) }
    for state in [VersionState.loading, .checking, .warming] {
      try perform(reconciler.advanced(key, to: state, now: now))
    }
    _ = ledger.accept(key, digest: read.bundle.digest, keyID: read.bundle.signer)
    // The control loop asks again, for trust may have changed meanwhile.
    if revoked.contains(read.bundle.signer) {
      return try perform(reconciler.loaded(key, .rejected(Self.revocation), now: now))
    }
    live[key] = read.bundle
    let identity = Reconciler.Identity(digest: read.bundle.digest, signer: read.bundle.signer)
    try perform(reconciler.loaded(key, .live(identity, residentBytes: 1), now: now))
  }

  private static let revocation = Rejection(label: "revoked", message: "key revoked")

  /// What a loader says of a file that it read.
  private mutating func verdict(
    on file: SimulatedFile?, _ request: Reconciler.LoadRequest, trust: Set<String>
  ) -> Rejection? {
    guard let file else { return nil }
    switch random.next() % 16 {
    case 0: return Rejection(label: "io", message: "read: I/O error", isTransient: true)
    case 1: return Rejection(label: Rejection.memoryLabel, message: "memory", isTransient: true)
    default: break
    }
    guard file.isWhole else { return Rejection(label: "truncated", message: "truncated") }
    if trust.contains(file.bundle.signer) { return Self.revocation }
    if let fault = file.bundle.fault { return Rejection(label: fault.rawValue, message: fault.rawValue) }
    guard !isInspecting else { return nil }
    return ledger.refusal(
      of: request.key, digest: file.bundle.digest, keyID: file.bundle.signer, isLate: request.isLate)
  }

  /// The last lease on a version ends.
  private mutating func letGo() throws(Violation) {
    guard !releasing.isEmpty else { return }
    let key = releasing.removeFirst()
    note("released \(key)")
    try perform(reconciler.released(key, now: now))
  }

  private mutating func changeTrust() throws(Violation) {
    revoked.formSymmetricDifference([SimulatedFiles.signers[1 + Int(random.next() % 2)]])
    note("revoked: \(revoked.sorted())")
    try tellTrust()
  }

  private mutating func tellTrust() throws(Violation) {
    let refused = live.filter { revoked.contains($0.value.signer) }.mapValues { _ in Self.revocation }
    try perform(reconciler.trustChanged(refused: refused, now: now))
  }

  /// SIGKILL: only what is on disk is left.
  private mutating func restart() {
    note("restart")
    reconciler = Reconciler(policy: VersionPolicy(keep: Self.keep))
    ledger = AcceptanceLedger(ledger.accepted, keep: Self.keep)
    (inHand, isInspecting, wasReady) = (nil, false, false)
    (live, table, alarms, releasing) = ([:], [:], [], [])
  }

  // MARK: what the reconciler orders

  private mutating func perform(_ actions: [Reconciler.Action]) throws(Violation) {
    var last = 0
    for action in actions {
      let step = Self.step(of: action)
      try require(step >= last, "\(action) after a later step of the order")
      last = step
      switch action {
      case .load(let request): try start(request, inspecting: false)
      case .inspect(let request): try start(request, inspecting: true)
      case .publish: try publish()
      case .release(let key):
        try require(table[key.model]?.live.contains(key.version) != true, "\(key) released while it is in the table")
        if live.removeValue(forKey: key) != nil { releasing.append(key) }
        alarms.remove(key)
      case .tell(.rejected(let rejection, let key)):
        try require(
          rejection.label != "truncated", "\(key) refused for being short, which a file that grows is")
      case .tell(.trust(let key, let rejection)):
        if rejection == nil { alarms.remove(key) } else { alarms.insert(key) }
      case .tell, .remember: break
      }
    }
    try check()
  }

  /// The order that the driver relies on.
  private static func step(of action: Reconciler.Action) -> Int {
    switch action {
    case .remember: 1
    case .publish: 2
    case .tell: 3
    case .release: 4
    case .load, .inspect: 5
    }
  }

  private mutating func start(_ request: Reconciler.LoadRequest, inspecting: Bool) throws(Violation) {
    try require(inHand == nil, "\(request.key) handed to a loader that is at work")
    try require(inspecting == (live[request.key] != nil), "\(request.key) loaded twice, or looked at before it was")
    let file = files[request.key]
    // A loader reads only what the scan saw.
    inHand = (request, file?.fingerprint == request.bundle.fingerprint ? file : nil, revoked)
    isInspecting = inspecting
  }

  private mutating func publish() throws(Violation) {
    let before = table
    table = Dictionary(uniqueKeysWithValues: reconciler.table.map { ($0.model, $0) })
    for (model, last) in before {
      guard let old = last.serving else { continue }
      guard let new = table[model]?.serving else {
        throw violation("\(model) served \(old) and now nothing")
      }
      let isTrusted = !revoked.contains(live[VersionKey(model, old)]?.signer ?? "none")
      try require(new >= old || !isTrusted, "\(model) went back from \(old) to \(new), which nobody asked for")
    }
  }

  // MARK: what must hold

  private mutating func check() throws(Violation) {
    for entry in reconciler.table {
      for version in entry.live {
        let key = VersionKey(entry.model, version)
        guard let bundle = live[key] else { throw violation("\(key) in the table, but not in memory") }
        try require(bundle.fault == nil && bundle.key == key, "\(key) serves what was never good")
      }
      guard let serving = entry.serving else {
        try require(entry.live.isEmpty, "\(entry.model) serves nothing though something is live")
        continue
      }
      let trusted = entry.live.filter { !revoked.contains(live[VersionKey(entry.model, $0)]?.signer ?? "") }
      try require(
        trusted.isEmpty || trusted.contains(serving), "\(entry.model) serves \(serving), not trusted, beside \(trusted)"
      )
      try require(trusted.isEmpty || serving == trusted.max(), "\(entry.model) does not serve the newest of \(trusted)")
      if trusted.isEmpty {
        try require(alarms.contains(VersionKey(entry.model, serving)), "no alarm though \(serving) is not trusted")
      }
    }
    try require(reconciler.isSettled || !wasReady, "ready no more")
    wasReady = reconciler.isSettled
  }

  /// When people leave the store alone, the best that lies there serves.
  private mutating func converge() throws(Violation) {
    files.heal()
    for _ in 0..<60 {
      advance(milliseconds: 61_000)
      try scan()
      while inHand != nil { try work() }
      while !releasing.isEmpty { try letGo() }
    }
    try require(reconciler.isIdle && reconciler.isSettled, "not at rest")
    for model in SimulatedFiles.models {
      let entry = reconciler.table.first { $0.model == model }
      try require((entry?.live.count ?? 0) <= 1 + Self.keep, "\(model) keeps \(entry?.live ?? [])")
      let (sure, possible) = best(of: model)
      let serving = entry?.serving?.number ?? 0
      // What is no longer trusted serves on where nothing else surely can.
      if sure == 0, let alone = entry?.serving, revoked.contains(live[VersionKey(model, alone)]?.signer ?? "") {
        continue
      }
      try require(
        (sure...possible).contains(serving), "\(model) serves \(serving), best are \(sure) to \(possible)")
    }
    for model in reconciler.status.models {
      for version in model.versions {
        guard let file = files[VersionKey(model.model, version.version)], !file.isWhole, file.bundle.fault != .header
        else { continue }
        try require(
          version.state == .incomplete || version.state == .live,
          "\(model.model) \(version.version) is incomplete, and \(version.state)")
      }
    }
  }

  /// The newest version that must serve, and the newest that may: a version that came late may be
  /// refused as one that somebody puts back.
  private func best(of model: ModelID) -> (sure: UInt64, possible: UInt64) {
    var sure: UInt64 = 0
    var possible: UInt64 = 0
    func note(_ key: VersionKey, isSure: Bool) {
      possible = max(possible, key.version.number)
      if isSure { sure = max(sure, key.version.number) }
    }
    for (key, bundle) in live where key.model == model && !revoked.contains(bundle.signer) { note(key, isSure: true) }
    for (key, file) in files.files where key.model == model && live[key] == nil {
      guard file.isWhole, file.bundle.fault == nil, !revoked.contains(file.bundle.signer) else { continue }
      let refusals = [true, false].map {
        ledger.refusal(of: key, digest: file.bundle.digest, keyID: file.bundle.signer, isLate: $0)
      }
      if refusals[0] == nil || refusals[1] == nil { note(key, isSure: refusals[0] == nil && refusals[1] == nil) }
    }
    return (sure, possible)
  }

  private func require(_ condition: Bool, _ what: @autoclosure () -> String) throws(Violation) {
    if !condition { throw violation(what()) }
  }

  private func violation(_ what: String) -> Violation { Violation(description: what) }
}
