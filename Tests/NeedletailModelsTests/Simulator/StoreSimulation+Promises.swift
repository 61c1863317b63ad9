import NeedletailCore
import NeedletailModels
import NeedletailTestSupport

/// What must hold after everything that happens, and what must hold when people leave the store alone.
extension StoreSimulation {
  mutating func check() throws(Violation) {
    for entry in reconciler.table {
      for version in entry.live {
        let key = VersionKey(entry.model, version)
        guard let bundle = live[key] else { throw violation("\(key) in the table, but not in memory") }
        try require(bundle.fault == nil && bundle.key == key, "\(key) serves what was never good")
      }
      try compare(entry)
    }
    for (model, known) in expected {
      let memory = reconciler.rollouts[model]?.memory ?? RolloutMemory()
      try require(memory.quarantined.map(\.version) == known.quarantined.map(\.version), "\(model): other quarantines")
      try require(memory.served == known.served, "\(model): served \(memory.served), expected \(known.served)")
      try require(memory.file == known.text, "\(model): another rollout file in force")
      try require(disk[model] ?? RolloutMemory() == memory, "\(model): something is not on the disk")
    }
    try require(reconciler.isReady || !wasReady, "ready no more")
    if reconciler.isReady && !wasReady {
      let models = reconciler.table.filter { expected[$0.model]?.isRetired != true }
      try require(
        !models.isEmpty && models.allSatisfy { $0.serving != nil }, "ready with \(models.map(\.model)) serving nothing")
    }
    wasReady = reconciler.isReady
  }

  /// Compares where requests go with where they should.
  private func compare(_ entry: Reconciler.TableEntry) throws(Violation) {
    let known = expected[entry.model] ?? ExpectedModel()
    let model = entry.model
    try require(
      Set(entry.live.map(\.number)) == Set(known.live.keys), "\(model) has \(entry.live), expected \(known.live)")
    let routing = known.routing
    try require(
      entry.serving?.number == routing.serving, "\(model) serves \(entry.serving?.number ?? 0), not \(routing)")
    let shares = Dictionary(uniqueKeysWithValues: entry.routing.shares.map { ($0.version.number, $0.points) })
    try require(shares == routing.shares, "\(model) splits \(shares), not \(routing.shares)")
    try require(
      entry.routing.shares.isEmpty || entry.routing.shares.last?.version == entry.serving,
      "\(model): the stable arm is not last, so that a growing share moves keys")
    let labels = Dictionary(uniqueKeysWithValues: entry.routing.labels.map { ($0.name, $0.version?.number ?? 0) })
    try require(labels == routing.labels, "\(model) answers labels by \(labels), not \(routing.labels)")
    try require(
      entry.routing.shadow?.number == routing.shadow, "\(model) is shadowed by another than \(routing.shadow ?? 0)")
    try require(entry.isRetired == known.isRetired, "\(model): retired is \(entry.isRetired)")
    if let serving = entry.serving, revoked.contains(live[VersionKey(model, serving)]?.signer ?? "") {
      try require(alarms.contains(VersionKey(model, serving)), "no alarm though \(model) \(serving) is not trusted")
    }
  }

  /// When people leave the store alone, the best that lies there serves.
  mutating func converge() throws(Violation) {
    files.heal()
    if random.next() % 2 == 0 { files.healOrders() }
    for _ in 0..<60 {
      advance(milliseconds: 61_000)
      try scan()
      while inHand != nil { try work() }
      while !releasing.isEmpty { try letGo() }
    }
    try require(reconciler.isIdle && reconciler.isSettled, "not at rest")
    for model in SimulatedFiles.models {
      let known = expected[model] ?? ExpectedModel()
      let entry = reconciler.table.first { $0.model == model }
      let spare = (entry?.live ?? []).map(\.number).filter {
        $0 != entry?.serving?.number && (!known.named.contains($0) || known.isHeld || !known.isGood($0))
      }
      try require(
        spare.count <= (known.isHeld ? keep : known.order?.keep ?? keep), "\(model) keeps \(spare)")
      let loadable = loadable(model)
      if let best = known.atRest(loadable: loadable) {
        try require(
          entry?.serving?.number == best,
          "\(model) serves \(entry?.serving?.number ?? 0), best is \(best) of \(known.live) and \(loadable)")
      } else {
        try require(!known.isRetired || entry?.live.isEmpty ?? true, "\(model) is retired and in memory")
      }
    }
    let models = reconciler.table.filter { expected[$0.model]?.isRetired != true }
    if !models.isEmpty && models.allSatisfy({ $0.serving != nil }) {
      try require(reconciler.isReady, "all serve, and the server is not ready")
    }
    try require(reconciler.isReady == reconciler.status.obstacle.isEmpty, "not ready without a reason")
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

  /// Versions in the store, not in memory, that would come up.
  private func loadable(_ model: ModelID) -> Set<UInt64> {
    var loadable: Set<UInt64> = []
    for (key, file) in files.files where key.model == model && live[key] == nil {
      guard file.isWhole, file.bundle.fault == nil, !revoked.contains(file.bundle.signer),
        !protection.refuses(file.bundle, isLate: seen[key]?.isLate == true)
      else { continue }
      loadable.insert(key.version.number)
    }
    return loadable
  }
}
