package import NeedletailCore

/// Something that happened to a rollout, for people and metrics.
package enum RolloutEvent: Sendable, Equatable {
  /// A rollout file with this policy is in force.
  /// - Parameter owner: user id that the file belongs to; nil: the store knows none.
  case accepted(RolloutPolicy, owner: UInt32?)
  /// The store holds no rollout file any more; the last one stays in force.
  case removed
  /// A rollout file cannot be used, for this reason.
  /// - Parameters:
  ///   - isHeld: whether no earlier one is known, so that nothing new may go live.
  ///   - owner: user id that the file belongs to; nil: the store knows none.
  case refused(String, isHeld: Bool, owner: UInt32? = nil)
  /// A version lost its traffic.
  case quarantined(ModelVersion, QuarantineCause, reason: String)
  /// A newer file lets these versions back in.
  case readmitted([ModelVersion])
}

/// Rollout files, quarantine, undo, and what the guard watches.
extension Reconciler {
  /// Takes in the rollout files of a snapshot. A file that is not good changes nothing, and neither does one that is
  /// gone: a file that is copied anew is missing for a moment, and nobody has said what is to serve instead.
  mutating func observeRollouts(_ snapshot: StoreSnapshot) {
    for model in Set(snapshot.rollouts.keys).union(rollouts.keys).sorted() {
      switch snapshot.rollouts[model] {
      case .file(let file):
        rollouts[model, default: ModelRollout()].problem = nil
        rollouts[model]?.isFileMissing = false
        guard file.text != rollouts[model]?.memory.file else { continue }
        let back = rollouts[model]?.memory.quarantinedVersions ?? []
        rollouts[model]?.accept(file)
        changeMemory(of: model) { memory in
          memory.file = file.text
          memory.quarantined = []
        }
        pending.tell(.rollout(model, .accepted(file.policy, owner: snapshot.rolloutOwners[model])))
        if !back.isEmpty { pending.tell(.rollout(model, .readmitted(back.sorted()))) }
      case .invalid(let problem):
        let isNews = rollouts[model]?.problem != problem
        rollouts[model, default: ModelRollout()].problem = problem
        rollouts[model]?.isFileMissing = false
        if isNews {
          pending.tell(
            .rollout(
              model,
              .refused(
                problem, isHeld: rollouts[model]?.isHeld == true, owner: snapshot.rolloutOwners[model])))
        }
      case nil:
        guard snapshot.isReadable, !snapshot.unreadableModels.contains(model), let rollout = rollouts[model] else {
          continue
        }
        if rollout.isMemoryUnderstood { rollouts[model]?.problem = nil }
        // A model whose bundles are gone too was taken away as a whole.
        let isMissing = !rollout.memory.file.isEmpty && snapshot.bundles.contains { $0.key.model == model }
        if isMissing && !rollout.isFileMissing { pending.tell(.rollout(model, .removed)) }
        rollouts[model]?.isFileMissing = isMissing
      }
    }
  }

  /// Changes what is remembered of a model, and has it written.
  mutating func changeMemory(of model: ModelID, _ change: (inout RolloutMemory) -> Void) {
    let before = rollouts[model]?.memory
    change(&rollouts[model, default: ModelRollout()].memory)
    if rollouts[model]?.memory != before { pending.remember() }
  }

  // MARK: quarantine

  /// Takes all traffic from one version, and gives it to what would serve without it.
  /// - Returns: nil if nothing good could answer in its place; then nothing has changed.
  package mutating func quarantine(
    _ key: VersionKey, cause: QuarantineCause, reason: String, now: Moment
  ) -> [Action]? {
    guard canQuarantine(key) else { return nil }
    enterQuarantine(key, cause, reason: reason, now: now)
    return settle(now: now)
  }

  /// Takes the traffic of one version, or of those that an undo takes it from if none is named: the arms of a split, so
  /// that the version they are compared with answers, else the version that serves, so that the one before it does.
  ///
  /// The guard may have done this already. An operator who reads its alarm and undoes would then take the good version
  /// too, so this needs to be named or forced.
  ///
  /// - Parameters:
  ///   - version: the version to take the traffic from; nil: as above.
  ///   - isForced: whether to go on although the guard has gone back already.
  /// - Throws: `.notFound` or `.unavailable` if there is nothing to go back from or to, `.invalidArgument` if the guard
  ///   has gone back already; then nothing has changed.
  package mutating func undo(
    _ model: ModelID, from version: ModelVersion? = nil, isForced: Bool = false, now: Moment
  ) throws(ServingError) -> [Action] {
    let name = "model \(model.name.quotedForMessage)"
    guard let entry = table.first(where: { $0.model == model }) else {
      let nearest = Suggestion.nearest(to: model.name, among: table.lazy.map(\.model.name))
      throw ServingError(.notFound, "\(name): not found", suggestedModel: nearest)
    }
    guard let serving = entry.serving else { throw entry.noneLive }
    let arms = entry.routing.shares.map(\.version).filter { $0 != serving }
    var leaving = arms.isEmpty ? [serving] : arms
    if let version {
      guard version == serving || arms.contains(version) else {
        throw .notFound(
          "\(name): version \(version) answers no request that names none"
            + (quarantined(version, of: model).map { ", \($0.words)" } ?? "") + "; \(serving) serves")
      }
      leaving = [version]
    } else if !isForced, let taken = takenByGuard(entry) {
      throw .invalidArgument(
        "\(name): expected a version whose traffic the guard has not taken yet, found version \(taken.version) "
          + "\(taken.words), and \(serving) serves since; name a version to take its traffic all the same")
    }
    for version in leaving where !canQuarantine(VersionKey(model, version)) {
      throw .notFound("\(name): no other good version is live to go back to from \(version)")
    }
    for version in leaving { enterQuarantine(VersionKey(model, version), .undo, reason: "undone", now: now) }
    return settle(now: now)
  }

  private func quarantined(_ version: ModelVersion, of model: ModelID) -> RolloutMemory.Quarantined? {
    rollouts[model]?.memory.quarantined.last { $0.version == version.number }
  }

  /// The version from which the guard went back to what answers now: without its quarantine it would have traffic.
  private func takenByGuard(_ entry: TableEntry) -> RolloutMemory.Quarantined? {
    guard let rollout = rollouts[entry.model] else { return nil }
    let others = candidates(of: entry.model)
    return rollout.memory.quarantined.last { taken in
      guard taken.cause != .undo, let version = ModelVersion(taken.version) else { return false }
      var memory = rollout.memory
      memory.quarantined.removeAll { $0.version == taken.version }
      let decision = policy.decide(
        others.filter { $0.version != version } + [.init(version, .live)], rollout: rollout.policy, memory: memory,
        isHeld: rollout.isHeld)
      return decision.serving == version || decision.routing.shares.contains { $0.version == version }
        || decision.routing.labels.contains { $0.version == version }
    }
  }

  private func canQuarantine(_ key: VersionKey) -> Bool {
    let rollout = rollouts[key.model] ?? ModelRollout()
    return !rollout.memory.quarantinedVersions.contains(key.version)
      && policy.fallback(
        from: key.version, candidates(of: key.model), rollout: rollout.policy, memory: rollout.memory,
        isHeld: rollout.isHeld) != nil
  }

  private mutating func enterQuarantine(_ key: VersionKey, _ cause: QuarantineCause, reason: String, now: Moment) {
    changeMemory(of: key.model) { memory in
      memory.quarantined.append(
        .init(version: key.version.number, cause: cause, reason: reason, sinceMilliseconds: now.milliseconds))
      if memory.quarantined.count > Limits.storeVersionsMax { memory.quarantined.removeFirst() }
    }
    pending.tell(.rollout(key.model, .quarantined(key.version, cause, reason: reason)))
  }

  // MARK: guard

  /// Models whose counters the guard has to see.
  var guardedModels: Set<ModelID> {
    Set(rollouts.compactMap { model, rollout in rollout.policy.limits == nil ? nil : model })
  }

  /// Every version that gets traffic and has another to give way to, with what it is compared with.
  package var guarded: [RolloutGuard.Watch] {
    var watches: [RolloutGuard.Watch] = []
    for entry in table {
      guard let rollout = rollouts[entry.model], let limits = rollout.policy.limits, let serving = entry.serving else {
        continue
      }
      let others = Set(entry.routing.shares.map(\.version) + entry.routing.labels.compactMap(\.version))
      for version in others.sorted() where version != serving {
        watches.append(.init(key: VersionKey(entry.model, version), baseline: serving, limits: limits))
      }
      // The stable version of a split is what is good by definition.
      let stable = rollout.policy.labels.first { $0.name == RolloutPolicy.stableLabel }?.version
      guard stable != serving, entry.routing.shares.isEmpty,
        rollout.memory.servedVersions.contains(where: { $0 != serving }),
        let back = policy.fallback(
          from: serving, candidates(of: entry.model), rollout: rollout.policy, memory: rollout.memory,
          isHeld: rollout.isHeld),
        rollout.memory.servedVersions.contains(back)
      else { continue }
      watches.append(.init(key: VersionKey(entry.model, serving), baseline: back, limits: limits))
    }
    return watches
  }

  private func candidates(of model: ModelID) -> [VersionPolicy.Candidate] {
    candidates(records.keys.filter { $0.model == model })
  }

  // MARK: status

  /// Everything that is known of one model's rollout, for people.
  func rolloutStatus(_ model: ModelID, _ entry: TableEntry?) -> RolloutStatus {
    let rollout = rollouts[model] ?? ModelRollout()
    return RolloutStatus(
      file: rollout.memory.file, problem: rollout.problem ?? "", routing: entry?.routing ?? ModelRouting(),
      quarantined: rollout.memory.quarantined.compactMap { entry in
        ModelVersion(entry.version).map {
          .init(version: $0, cause: entry.cause, reason: entry.reason, sinceMilliseconds: entry.sinceMilliseconds)
        }
      },
      policy: rollout.policy, served: rollout.memory.servedVersions, isFileMissing: rollout.isFileMissing,
      isHeld: rollout.isHeld)
  }
}
