internal import NeedletailCore

/// Decisions over all versions: which load, serve and go, and the table that requests use.
extension Reconciler {
  /// Takes every decision that what is known now allows, gives the loader its next bundle, and ends the call.
  mutating func settle(now: Moment) -> [Action] {
    var queue: [(rank: Int, key: VersionKey)] = []
    var retired: [VersionKey] = []
    var decisions: [ModelID: VersionPolicy.Decision] = [:]
    let byModel = Dictionary(grouping: records.keys, by: \.model)
    for (model, keys) in byModel.sorted(by: { $0.key < $1.key }) {
      let rollout = rollouts[model] ?? ModelRollout()
      let decision = policy.decide(
        candidates(keys), rollout: rollout.policy, memory: rollout.memory, isHeld: rollout.isHeld)
      decisions[model] = decision
      for version in decision.retire { retired.append(VersionKey(model, version)) }
      // First what has nothing to serve, then what is newer, then what is only kept for the way back.
      for (place, version) in decision.load.enumerated() {
        let rank = decision.isInNeed && place == 0 ? 0 : place < decision.wantedCount ? 1 : 3
        queue.append((rank, VersionKey(model, version)))
      }
      enterWaiting(keys, decision, rollout, now: now)
      // What is let go in this very step need not be looked at any more.
      for key in keys.sorted() where records[key]?.needsInspection == true && !decision.retire.contains(key.version) {
        queue.append((2, key))
      }
    }
    publish(decisions, retired: retired, now: now)
    // Among models of equal rank the one whose last turn is longest ago comes first: a model that is published to without
    // pause would otherwise keep the others from ever loading.
    turns = turns.filter { byModel[$0.key] != nil }
    let next = queue.min { ($0.rank, turns[$0.key.model] ?? 0) < ($1.rank, turns[$1.key.model] ?? 0) }
    dispatch(next?.key, now: now)
    updateReadiness()
    return pending.take()
  }

  /// The candidates for the policy, made from these versions.
  func candidates(_ keys: some Sequence<VersionKey>) -> [VersionPolicy.Candidate] {
    keys.compactMap { key in
      guard let record = records[key] else { return nil }
      if record.lifecycle.state == .live { return .init(key.version, record.distrust == nil ? .live : .distrusted) }
      // The loader's present bundle counts: a decision must not change its mind on the way.
      return record.isLoadable || (inFlight == key && record.bundle != nil)
        ? .init(key.version, .loadable, isLate: record.isLate) : nil
    }
  }

  /// Says of every bundle that could be loaded whether it waits for the loader, and why if it does not.
  private mutating func enterWaiting(
    _ keys: [VersionKey], _ decision: VersionPolicy.Decision, _ rollout: ModelRollout, now: Moment
  ) {
    let wanted = Set(decision.load)
    for key in keys.sorted() where records[key]?.isLoadable == true && inFlight != key {
      if wanted.contains(key.version) {
        enter(.verifying, key, reason: "waiting for the loader", now: now, isTold: false)
      } else if records[key]?.lifecycle.state != .retired {
        enter(.retired, key, reason: "not loaded: \(Self.reasonNotToLoad(key.version, rollout))", now: now)
      }
    }
  }

  private static func reasonNotToLoad(_ version: ModelVersion, _ rollout: ModelRollout) -> String {
    if rollout.policy.isRetired { return "rollout.yaml says that the model serves none" }
    if rollout.isHeld { return "rollout.yaml cannot be read, and no earlier one is known" }
    if rollout.memory.quarantinedVersions.contains(version) { return "quarantined" }
    return rollout.policy.preferred == nil ? "a newer version is preferred" : "not in rollout.yaml"
  }

  /// Changes the table, and tells of it.
  private mutating func publish(
    _ decisions: [ModelID: VersionPolicy.Decision], retired: [VersionKey], now: Moment
  ) {
    for key in retired {
      enter(.retiring, key, now: now)
      pending.release(key)
    }
    let before = servingByModel()
    let next = makeTable(decisions)
    if next != table {
      table = next
      pending.publish()
    }
    for entry in next {
      for version in entry.live.reversed() {
        let key = VersionKey(entry.model, version)
        guard records[key]?.isAnnounced == false else { continue }
        records[key]?.isAnnounced = true
        tellState(of: key)
      }
      let last = before[entry.model]
      if let serving = entry.serving, last != serving {
        changeMemory(of: entry.model) { $0.serve(serving) }
        pending.tell(.swapped(entry.model, from: last, to: serving))
      }
    }
  }

  private func makeTable(_ decisions: [ModelID: VersionPolicy.Decision]) -> [TableEntry] {
    Dictionary(grouping: records.keys, by: \.model).map { model, keys in
      let live = keys.filter { records[$0]?.lifecycle.state == .live }.map(\.version).sorted(by: >)
      let awaited = keys.filter { records[$0]?.isOnItsWay == true }.map(\.version).sorted(by: >)
      return TableEntry(
        model: model, live: live, serving: decisions[model]?.serving, awaited: awaited,
        isRetired: rollouts[model]?.policy.isRetired == true, routing: decisions[model]?.routing ?? ModelRouting())
    }.sorted { $0.model < $1.model }
  }

  /// Gives the loader its next bundle, if it has none.
  private mutating func dispatch(_ key: VersionKey?, now: Moment) {
    guard inFlight == nil, let key, let record = records[key], let bundle = record.bundle else { return }
    inFlight = key
    turnsTaken += 1
    turns[key.model] = turnsTaken
    records[key]?.attempted = bundle.fingerprint
    let request = LoadRequest(bundle: bundle, isLate: record.isLate)
    if records[key]?.lifecycle.state == .live {
      pending.inspect(request)
    } else {
      enter(.verifying, key, now: now)
      pending.load(request)
    }
  }

  private mutating func updateReadiness() {
    guard hasScanned else { return }
    if !isSettled { isSettled = table.allSatisfy { $0.serving != nil || $0.awaited.isEmpty } }
    if isSettled && !isReady { isReady = obstacles(modelStatuses).isEmpty }
  }

  /// Obstacles to being ready, one sentence each.
  private func obstacles(_ models: [ModelStatus]) -> [String] {
    guard readiness != .anything else { return [] }
    guard isStoreReadable else { return ["the store cannot be read"] }
    var names = models.filter { !$0.rollout.isRetired }.map(\.model.name)
    if case .models(let required) = readiness { names = required.map(\.name) }
    guard !names.isEmpty else { return ["the store holds no model"] }
    return names.compactMap { name in
      guard let model = models.first(where: { $0.model.name == name }) else {
        return "model \(name.quotedForMessage): not in the store"
      }
      return model.serving == nil ? "model \(name.quotedForMessage): \(model.reasonToServeNothing)" : nil
    }
  }

  /// Why the server is not ready, in one line; empty once it was.
  private func obstacle(_ models: [ModelStatus]) -> String {
    guard !isReady else { return "" }
    guard isSettled else { return StoreStatus.isBeingRead }
    let all = obstacles(models)
    let shown = all.prefix(3).joined(separator: "; ")
    return all.count > 3 ? shown + "; and \(all.count - 3) more" : shown
  }

  /// Serving versions of the table as last published.
  func servingByModel() -> [ModelID: ModelVersion] {
    Dictionary(uniqueKeysWithValues: table.compactMap { entry in entry.serving.map { (entry.model, $0) } })
  }

  // MARK: status

  /// Everything that is known, for people.
  package var status: StoreStatus {
    var status = StoreStatus()
    status.problems = problems
    status.isSettled = isSettled
    status.isReady = isReady
    status.models = modelStatuses
    status.obstacle = obstacle(status.models)
    return status
  }

  private var modelStatuses: [ModelStatus] {
    let entries = Dictionary(uniqueKeysWithValues: table.map { ($0.model, $0) })
    return Dictionary(grouping: records.keys, by: \.model).map { model, keys in
      let entry = entries[model]
      return ModelStatus(
        model: model, serving: entry?.serving,
        versions: keys.sorted(by: >).compactMap { key in records[key]?.status(key.version, entry) },
        rollout: rolloutStatus(model, entry))
    }.sorted { $0.model < $1.model }
  }
}
