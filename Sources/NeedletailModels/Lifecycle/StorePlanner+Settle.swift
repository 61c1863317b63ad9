internal import NeedletailBundle
internal import NeedletailCore

extension StorePlanner {
  /// When a report goes out: before the next action, or by the caller, who has something to do first.
  enum Reporting {
    case now
    case later
  }

  // MARK: one file

  /// A known version as the scan sees it now.
  mutating func observe(_ file: StoreFile, now: Moment, _ actions: inout [Action]) {
    guard var record = records[file.key] else { return }
    let isChanged = record.file?.fingerprint != file.fingerprint
    record.file = file
    record.awaitsScan = false
    if isChanged {
      record.retryAt = nil
      record.retries = 0
      record.stalledSince = now.instant
    }
    if let retryAt = record.retryAt, retryAt <= now.instant {
      record.retryAt = nil
      record.attempted = nil
    }
    records[file.key] = record
    switch record.lifecycle.state {
    case .live:
      if case .notABundle(let error) = file.completeness, isChanged {
        records[file.key]?.attempted = file.fingerprint
        let rejection = Rejection(error)
        actions.append(.count(rejected: rejection, of: file.key))
        remark(file.key, "file in the store refused: \(rejection.message); still serving", now: now, &actions)
      }
    case .incomplete, .verifying, .rejected, .retired:
      guard inFlight != file.key else { return }
      judge(file, record, now: now, &actions)
    case .loading, .checking, .warming, .retiring:
      break
    }
  }

  /// What the length and the header alone say of a file that is not in memory.
  private mutating func judge(
    _ file: StoreFile, _ record: VersionRecord, now: Moment, _ actions: inout [Action]
  ) {
    switch file.completeness {
    case .complete:
      break
    case .incomplete(let found, let expected):
      let stalled = now.instant.microseconds(since: record.stalledSince) / 1_000_000
      var reason = "found \(found) of \(expected) bytes"
      let isStale = stalled >= UInt32(Limits.incompleteStaleSeconds)
      if isStale { reason += ", not growing for \(Limits.incompleteStaleSeconds) s" }
      // Growth is no news; the first sight, and that it stopped, are.
      let isNews = record.lifecycle.state != .incomplete || isStale
      records[file.key]?.attempted = nil
      enter(.incomplete, file.key, reason: reason, now: now, &actions, reporting: isNews ? .now : .later)
    case .notABundle(let error):
      guard record.attempted != file.fingerprint else { return }
      records[file.key]?.attempted = file.fingerprint
      reject(file.key, Rejection(error), now: now, &actions)
    }
  }

  /// A known version whose file the scan did not find.
  mutating func disappear(_ key: VersionKey, now: Moment, _ actions: inout [Action]) {
    guard let record = records[key] else { return }
    switch record.lifecycle.state {
    case .live:
      guard record.file != nil else { return }
      records[key]?.file = nil
      records[key]?.attempted = nil
      remark(key, "file removed from the store; still serving", now: now, &actions)
    case .retiring:
      records[key]?.file = nil
    case .incomplete, .verifying, .loading, .checking, .warming, .retired, .rejected:
      if inFlight == key {
        records[key]?.file = nil
      } else {
        records[key] = nil
        actions.append(.forget(key))
      }
    }
  }

  /// Says what is odd about the file of a live version; nothing, where the remark is empty.
  mutating func remark(_ key: VersionKey, _ remark: String, now: Moment, _ actions: inout [Action]) {
    guard var record = records[key] else { return }
    record.remark = remark
    records[key] = record
    enter(.live, key, reason: record.liveReason, now: now, &actions)
  }

  mutating func reject(_ key: VersionKey, _ rejection: Rejection, now: Moment, _ actions: inout [Action]) {
    if rejection.isTransient { records[key]?.pause(now: now) }
    records[key]?.lacksMemory = rejection.label == Rejection.memoryLabel
    actions.append(.count(rejected: rejection, of: key))
    enter(.rejected, key, reason: rejection.message, now: now, &actions)
  }

  /// Memory came free: no need to wait for the next try.
  mutating func retryWhatLackedMemory(now: Moment) {
    for (key, record) in records where record.lacksMemory && record.lifecycle.state == .rejected {
      records[key]?.lacksMemory = false
      records[key]?.attempted = nil
      records[key]?.retryAt = nil
    }
  }

  /// Back to waiting: what was read is not what is there.
  mutating func rewind(_ key: VersionKey, now: Moment, _ actions: inout [Action]) {
    records[key]?.attempted = nil
    enter(.verifying, key, now: now, &actions, reporting: .later)
    if let record = records[key], let file = record.file { judge(file, record, now: now, &actions) }
  }

  // MARK: all versions

  /// Takes every decision that what is known now allows, and gives the loader its next file.
  mutating func settle(now: Moment, _ actions: inout [Action]) {
    var queue: [(rank: Int, key: VersionKey)] = []
    var retired: [VersionKey] = []
    var decisions: [ModelID: VersionPolicy.Decision] = [:]
    let byModel = Dictionary(grouping: records.keys, by: \.model)
    for (model, keys) in byModel.sorted(by: { $0.key < $1.key }) {
      let rollout = rollouts[model] ?? ModelRollout()
      let decision = policy.decide(candidates(keys), rollout: rollout.policy, memory: rollout.memory)
      decisions[model] = decision
      for version in decision.retire { retired.append(VersionKey(model, version)) }
      // First what has nothing to serve, then what is newer, then what is only kept for the way back.
      for (place, version) in decision.load.enumerated() {
        let rank = decision.isInNeed && place == 0 ? 0 : place < decision.wantedCount ? 1 : 3
        queue.append((rank, VersionKey(model, version)))
      }
      let wanted = Set(decision.load)
      for key in keys.sorted() where records[key]?.isLoadable == true && inFlight != key {
        if wanted.contains(key.version) {
          enter(.verifying, key, reason: "waiting for the loader", now: now, &actions, reporting: .later)
        } else if records[key]?.lifecycle.state != .retired {
          let reason =
            rollout.memory.asideVersions.contains(key.version)
            ? "set aside" : rollout.policy.preferred == nil ? "a newer version is preferred" : "not in rollout.yaml"
          enter(.retired, key, reason: "not loaded: \(reason)", now: now, &actions)
        }
      }
      // What is let go in this very step need not be looked at any more.
      for key in keys.sorted() where records[key]?.needsInspection == true && !decision.retire.contains(key.version) {
        queue.append((2, key))
      }
    }
    publish(decisions, retired: retired, now: now, &actions)
    // Of those that wait alike, the model whose last turn is longest ago, or one that is published to without
    // pause would keep the others from ever loading.
    turns = turns.filter { byModel[$0.key] != nil }
    let next = queue.min { ($0.rank, turns[$0.key.model] ?? 0) < ($1.rank, turns[$1.key.model] ?? 0) }
    dispatch(next?.key, now: now, &actions)
    updateReadiness()
  }

  func candidates(_ keys: some Sequence<VersionKey>) -> [VersionPolicy.Candidate] {
    keys.compactMap { key in
      guard let record = records[key] else { return nil }
      if record.lifecycle.state == .live { return .init(key.version, record.distrust == nil ? .live : .distrusted) }
      // What the loader has in hand counts: a decision must not change its mind on the way.
      return record.isLoadable || (inFlight == key && record.file != nil)
        ? .init(key.version, .loadable, isLate: record.isLate) : nil
    }
  }

  /// Changes the table, then tells of it: who hears that a version is live must be able to ask for it.
  private mutating func publish(
    _ decisions: [ModelID: VersionPolicy.Decision], retired: [VersionKey], now: Moment, _ actions: inout [Action]
  ) {
    for key in retired { enter(.retiring, key, now: now, &actions) }
    let before = Dictionary(uniqueKeysWithValues: table.map { ($0.model, $0.serving) })
    let next = makeTable(decisions)
    if next != table {
      table = next
      actions.append(.publish)
    }
    for entry in next {
      for version in entry.live.reversed() {
        let key = VersionKey(entry.model, version)
        guard records[key]?.isAnnounced == false else { continue }
        records[key]?.isAnnounced = true
        report(key, &actions)
      }
      let last = before[entry.model] ?? nil
      if let serving = entry.serving, last != serving {
        rollouts[entry.model, default: ModelRollout()].memory.serve(serving)
        actions.append(.swapped(entry.model, from: last, to: serving))
      }
    }
    for key in retired { actions.append(.release(key)) }
  }

  private func makeTable(_ decisions: [ModelID: VersionPolicy.Decision]) -> [TableEntry] {
    Dictionary(grouping: records.keys, by: \.model).map { model, keys in
      let live = keys.filter { records[$0]?.lifecycle.state == .live }.map(\.version).sorted(by: >)
      let isLoading = live.isEmpty && keys.contains { records[$0]?.isOnItsWay == true }
      return TableEntry(
        model: model, live: live, serving: decisions[model]?.serving, isLoading: isLoading,
        routing: decisions[model]?.routing ?? ModelRouting())
    }.sorted { $0.model < $1.model }
  }

  private mutating func dispatch(_ key: VersionKey?, now: Moment, _ actions: inout [Action]) {
    guard inFlight == nil, let key, let record = records[key], let file = record.file else { return }
    inFlight = key
    turnsTaken += 1
    turns[key.model] = turnsTaken
    records[key]?.attempted = file.fingerprint
    let request = LoadRequest(key: key, path: file.path, fingerprint: file.fingerprint, isLate: record.isLate)
    if records[key]?.lifecycle.state == .live {
      actions.append(.inspect(request))
    } else {
      enter(.verifying, key, now: now, &actions)
      actions.append(.load(request))
    }
  }

  private mutating func updateReadiness() {
    guard hasScanned, !isReady else { return }
    isReady = table.allSatisfy { $0.serving != nil || !$0.isLoading }
  }

  /// As last published.
  func servingByModel() -> [ModelID: ModelVersion] {
    Dictionary(uniqueKeysWithValues: table.compactMap { entry in entry.serving.map { (entry.model, $0) } })
  }

  // MARK: reports

  mutating func enter(
    _ state: VersionState, _ key: VersionKey, reason: String = "", now: Moment, _ actions: inout [Action],
    reporting: Reporting = .now
  ) {
    guard records[key]?.lifecycle.enter(state, reason: reason, now: now) == true, reporting == .now else { return }
    report(key, &actions)
  }

  func report(_ key: VersionKey, _ actions: inout [Action]) {
    guard let lifecycle = records[key]?.lifecycle else { return }
    actions.append(
      .report(
        LifecycleEvent(model: key.model, version: key.version, state: lifecycle.state, reason: lifecycle.reason)))
  }

  /// Everything that is known, for people.
  package var status: StoreStatus {
    var status = StoreStatus()
    status.problems = problems
    status.isReady = isReady
    let entries = Dictionary(uniqueKeysWithValues: table.map { ($0.model, $0) })
    for (model, keys) in Dictionary(grouping: records.keys, by: \.model) {
      let versions = keys.sorted(by: >).compactMap { key in
        records[key].map { record in
          VersionStatus(
            version: key.version, state: record.lifecycle.state, reason: record.lifecycle.reason,
            digest: record.identity?.digest ?? "",
            signer: record.identity?.signer ?? "", sinceMilliseconds: record.lifecycle.sinceMilliseconds,
            residentBytes: record.residentBytes)
        }
      }
      status.models.append(
        ModelStatus(
          model: model, serving: entries[model]?.serving, versions: versions,
          rollout: rolloutStatus(model, entries[model])))
    }
    status.models.sort { $0.model < $1.model }
    return status
  }
}
