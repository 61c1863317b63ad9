import NeedletailCore
import NeedletailModels
import NeedletailTestSupport

/// A reconciler between a file system, rollout files, operators, a guard, a loader, a trust file and a clock that are all
/// simulated: what happens next is drawn from a seed. After everything that happens, what the reconciler does is compared
/// with ``ExpectedModel`` and ``ExpectedProtection``, which know the promises and not the code.
struct StoreSimulation {
  struct Violation: Error, CustomStringConvertible {
    let description: String
  }

  private static let steps = 90

  /// Former versions that stay in memory: 1 or 2, by the seed.
  let keep: Int

  var random: SplitMix64
  var files = SimulatedFiles()
  var reconciler: Reconciler
  private var now = Moment(instant: Instant(nanoseconds: 1_000_000_000), milliseconds: 1_000)
  var revoked: Set<String> = []
  private var ledger: AcceptanceLedger
  /// What the loader has in hand, as it was read.
  var inHand: (request: Reconciler.LoadRequest, read: SimulatedFile?, revoked: Set<String>)?
  private var isInspecting = false
  /// In memory: loaded, and not let go.
  var live: [VersionKey: SimulatedBundle] = [:]
  var alarms: Set<VersionKey> = []
  var releasing: [VersionKey] = []
  var table: [ModelID: Reconciler.TableEntry] = [:]
  var wasReady = false
  /// What the driver has on its disk.
  var disk: [ModelID: RolloutMemory] = [:]
  private(set) var history: [String] = []

  // What is expected.
  var expected: [ModelID: ExpectedModel] = [:]
  var protection = ExpectedProtection()
  /// Fingerprints that scans have shown, and whether they came when a higher version had been live.
  var seen: [VersionKey: (fingerprint: StoreFingerprint, isLate: Bool)] = [:]
  private var highestLive: [ModelID: UInt64] = [:]
  /// Versions of which the last scan that could look held a file.
  private var listed: Set<VersionKey> = []

  init(seed: UInt64) {
    random = SplitMix64(seed: seed)
    keep = 1 + Int(random.next() % 2)
    reconciler = Reconciler(policy: VersionPolicy(keep: keep))
    ledger = AcceptanceLedger(keep: keep)
  }

  /// Runs one seed to its end.
  /// - Throws: ``Violation``.
  mutating func run() throws(Violation) {
    for _ in 0..<Self.steps { try step() }
    try converge()
  }

  private mutating func step() throws(Violation) {
    advance(milliseconds: random.next() % (random.next() % 8 == 0 ? 90_000 : 500))
    switch random.next() % 26 {
    case 0...7: note(files.change(&random))
    case 8...12: try scan()
    case 13...17: try work()
    case 18: try letGo()
    case 19: note(files.hideOrShow(&random))
    case 20: try changeTrust()
    case 21, 22: note(files.changeOrder(&random))
    case 23: try undo()
    case 24:
      try fireGuard()
      // An operator who has seen the same fault undoes as well.
      if random.next() % 2 == 0 { try undo() }
    default: if random.next() % 4 == 0 { restart() }
    }
  }

  private mutating func note(_ text: String) { if !text.isEmpty { history.append(text) } }

  mutating func advance(milliseconds: UInt64) {
    now.instant = now.instant.advanced(byMicroseconds: milliseconds * 1000)
    now.milliseconds += milliseconds
  }

  // MARK: what happens

  mutating func scan() throws(Violation) {
    note("scan")
    if files.isReadable {
      for model in SimulatedFiles.models where !files.unreadable.contains(model) {
        expected[model, default: ExpectedModel()].see(files.orders[model])
      }
      for (key, file) in files.files where !files.unreadable.contains(key.model) {
        let isLate = key.version.number < highestLive[key.model] ?? 0
        if seen[key]?.fingerprint != file.fingerprint {
          seen[key] = (file.fingerprint, isLate || seen[key]?.isLate == true)
        }
      }
      let hidden = listed.filter { files.unreadable.contains($0.model) }
      listed = Set(files.files.keys.filter { !files.unreadable.contains($0.model) }).union(hidden)
    }
    try perform(reconciler.observe(files.snapshot(), now: now))
  }

  /// The loader gets on, or ends.
  mutating func work() throws(Violation) {
    guard let (request, read, trustThen) = inHand else { return }
    let key = request.key
    if !isInspecting, random.next() % 3 == 0 {
      // In between; what was read stays what it is.
      return try perform(reconciler.advanced(key, to: .loading, now: now))
    }
    inHand = nil
    let refusal = try verdict(on: read, request, trust: trustThen)
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
    protection.accept(read.bundle)
    // The control loop asks again, for trust may have changed meanwhile.
    if revoked.contains(read.bundle.signer) {
      return try perform(reconciler.loaded(key, .rejected(Self.revocation), now: now))
    }
    live[key] = read.bundle
    // A bundle that was taken away while it was loaded is let go at once, and was never live.
    if listed.contains(key) {
      expected[key.model, default: ExpectedModel()].live[key.version.number] = true
      highestLive[key.model] = max(highestLive[key.model] ?? 0, key.version.number)
    }
    let identity = Reconciler.Identity(digest: read.bundle.digest, signer: read.bundle.signer)
    try perform(reconciler.loaded(key, .live(identity, residentBytes: 1), now: now))
  }

  private static let revocation = Rejection(label: "revoked", message: "key revoked")

  /// What a loader says of a file that it read.
  private mutating func verdict(
    on file: SimulatedFile?, _ request: Reconciler.LoadRequest, trust: Set<String>
  ) throws(Violation) -> Rejection? {
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
    let refusal = ledger.refusal(
      of: request.key, digest: file.bundle.digest, keyID: file.bundle.signer, isLate: request.isLate)
    try require(
      (refusal != nil) == protection.refuses(file.bundle, isLate: request.isLate),
      "\(request.key) signed by \(file.bundle.signer) is \(refusal == nil ? "let in" : "refused") as a rollback")
    return refusal
  }

  /// The last lease on a version ends.
  mutating func letGo() throws(Violation) {
    guard !releasing.isEmpty else { return }
    let key = releasing.removeFirst()
    note("released \(key)")
    try perform(reconciler.released(key, now: now))
  }

  private mutating func changeTrust() throws(Violation) {
    revoked.formSymmetricDifference([SimulatedFiles.signers[1 + Int(random.next() % 2)]])
    note("revoked: \(revoked.sorted())")
    let refused = live.filter { revoked.contains($0.value.signer) }.mapValues { _ in Self.revocation }
    for (key, bundle) in live {
      expected[key.model]?.live[key.version.number] = !revoked.contains(bundle.signer)
    }
    try perform(reconciler.trustChanged(refused: refused, now: now))
  }

  /// SIGKILL: only what is on disk is left.
  private mutating func restart() {
    note("restart")
    reconciler = Reconciler(policy: VersionPolicy(keep: keep), memories: disk)
    ledger = AcceptanceLedger(ledger.accepted, keep: keep)
    (inHand, isInspecting, wasReady) = (nil, false, false)
    (live, table, alarms, releasing) = ([:], [:], [], [])
    expected = expected.mapValues { $0.restarted() }
    protection.restart()
    (seen, highestLive, listed) = ([:], [:], [])
  }

  // MARK: operators and the guard

  private mutating func undo() throws(Violation) {
    let model = SimulatedFiles.models[Int(random.next() % 2)]
    let known = expected[model] ?? ExpectedModel()
    let from: UInt64? = random.next() % 3 == 0 ? any(known.live.keys.sorted()) : nil
    let isForced = random.next() % 4 == 0
    let leaving = table[model] == nil ? nil : known.undone(from: from, isForced: isForced)
    note("undo \(model) from \(from ?? 0)\(isForced ? ", forced" : ""): \(leaving.map { "\($0)" } ?? "refused")")
    let before = reconciler.rollouts
    let actions: [Reconciler.Action]
    do throws(ServingError) {
      actions = try reconciler.undo(
        model, from: from.flatMap { ModelVersion($0) }, isForced: isForced, now: now)
    } catch {
      try require(leaving == nil, "an undo of \(model) from \(leaving ?? []) was refused: \(error.message)")
      return try require(reconciler.rollouts == before, "an undo that was refused changed something")
    }
    guard let leaving else { throw violation("an undo of \(model) that had to be refused took place") }
    for version in leaving { expected[model]?.quarantined.append(.init(version: version, isByGuard: false)) }
    try perform(actions)
  }

  private mutating func any<Element>(_ elements: [Element]) -> Element? {
    elements.isEmpty ? nil : elements[Int(random.next() % UInt64(elements.count))]
  }

  private mutating func fireGuard() throws(Violation) {
    for watch in reconciler.guarded {
      let routing = (expected[watch.key.model] ?? ExpectedModel()).routing
      let version = watch.key.version.number
      try require(
        routing.serving == version || routing.shares[version] != nil || routing.labels.values.contains(version),
        "the guard watches \(watch.key), which answers nothing")
      try require(watch.baseline.number != version, "the guard compares \(watch.key) with itself")
    }
    for (model, known) in expected where known.order?.isGuarded == true && !known.isRetired && !known.isHeld {
      for version in known.routing.shares.keys where version != known.routing.serving {
        try require(
          reconciler.guarded.contains { $0.key.model == model && $0.key.version.number == version },
          "the guard does not watch \(model) \(version), which has a share")
      }
    }
    guard let key = any(live.keys.sorted()) else { return }
    let canGiveWay = expected[key.model]?.canGiveWay(key.version.number) == true
    note("guard fires on \(key): \(canGiveWay ? "quarantined" : "it serves on")")
    guard let actions = reconciler.quarantine(key, cause: .guardNaN, reason: "nan_rate", now: now) else {
      return try require(!canGiveWay, "\(key) broke a limit and kept its traffic")
    }
    try require(canGiveWay, "\(key) lost its traffic though nothing good could answer in its place")
    expected[key.model]?.quarantined.append(.init(version: key.version.number, isByGuard: true))
    try perform(actions)
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
      case .remember: disk = reconciler.rollouts.mapValues(\.memory)
      case .release(let key):
        try require(table[key.model]?.live.contains(key.version) != true, "\(key) released while it is in the table")
        expected[key.model]?.live[key.version.number] = nil
        if live.removeValue(forKey: key) != nil { releasing.append(key) }
        alarms.remove(key)
      case .tell(.rejected(let rejection, let key)):
        try require(
          rejection.label != "truncated", "\(key) refused for being short, which a file that grows is")
      case .tell(.trust(let key, let rejection)):
        if rejection == nil { alarms.remove(key) } else { alarms.insert(key) }
      case .tell: break
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
    let key = request.key
    try require(inHand == nil, "\(key) handed to a loader that is at work")
    try require(inspecting == (live[key] != nil), "\(key) loaded twice, or looked at before it was")
    if !inspecting, let known = expected[key.model] {
      try require(!known.isRetired, "\(key) loaded though the model is retired")
      try require(!known.isHeld || known.served.contains(key.version.number), "\(key) loaded though it is held")
    }
    let isLate = seen[key]?.isLate == true
    try require(
      inspecting || request.isLate == isLate, "\(key) came \(isLate ? "late" : "in time"), and is loaded as if not")
    let file = files[key]
    // A loader reads only what the scan saw.
    inHand = (request, file?.fingerprint == request.bundle.fingerprint ? file : nil, revoked)
    isInspecting = inspecting
  }

  private mutating func publish() throws(Violation) {
    table = Dictionary(uniqueKeysWithValues: reconciler.table.map { ($0.model, $0) })
    // What leaves with this very table is out of memory for whoever asks.
    for (model, entry) in table {
      let present = Set(entry.live.map(\.number))
      expected[model, default: ExpectedModel()].live = expected[model, default: ExpectedModel()].live.filter {
        present.contains($0.key)
      }
    }
    expected = expected.mapValues { known in
      var next = known
      next.serve(known.routing.serving)
      return next
    }
  }

  func require(_ condition: Bool, _ what: @autoclosure () -> String) throws(Violation) {
    if !condition { throw violation(what()) }
  }

  func violation(_ what: String) -> Violation { Violation(description: what) }
}
