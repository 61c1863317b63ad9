package import NeedletailCore

/// Something that happened to a rollout, for people and metrics.
package enum RolloutEvent: Sendable, Equatable {
  /// A rollout file is in force.
  case accepted
  /// The rollout file is gone.
  case removed
  /// A rollout file cannot be used, for this reason.
  case refused(String)
  /// A version lost its traffic.
  case quarantined(ModelVersion, QuarantineCause, reason: String)
  /// A newer file lets these versions back in.
  case readmitted([ModelVersion])
}

/// Rollout files, quarantine, undo, and what the guard watches.
extension Reconciler {
  /// Takes in the rollout files of a snapshot. A file that is not good changes nothing.
  mutating func observeRollouts(_ snapshot: StoreSnapshot) {
    for model in Set(snapshot.rollouts.keys).union(rollouts.keys).sorted() {
      switch snapshot.rollouts[model] {
      case .file(let file):
        rollouts[model, default: ModelRollout()].problem = nil
        guard file.text != rollouts[model]?.memory.file else { continue }
        let back = rollouts[model]?.memory.quarantinedVersions ?? []
        rollouts[model]?.policy = file.policy
        changeMemory(of: model) { memory in
          memory.file = file.text
          memory.quarantined = []
        }
        pending.tell(.rollout(model, .accepted))
        if !back.isEmpty { pending.tell(.rollout(model, .readmitted(back.sorted()))) }
      case .invalid(let problem):
        if rollouts[model]?.problem != problem { pending.tell(.rollout(model, .refused(problem))) }
        rollouts[model, default: ModelRollout()].problem = problem
      case nil:
        guard snapshot.isReadable, !snapshot.unreadableModels.contains(model) else { continue }
        rollouts[model]?.problem = nil
        guard let memory = rollouts[model]?.memory, !memory.file.isEmpty else { continue }
        // Quarantined versions stay so: nobody has said that they are good again.
        rollouts[model]?.policy = RolloutPolicy()
        changeMemory(of: model) { $0.file = "" }
        pending.tell(.rollout(model, .removed))
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

  /// Goes back one step: from the arms of a split to the version they are compared with, else from the version that
  /// serves to the one that served before.
  ///
  /// - Throws: `.notFound` if there is nothing to go back to; then nothing has changed.
  package mutating func undo(_ model: ModelID, now: Moment) throws(ServingError) -> [Action] {
    guard let entry = table.first(where: { $0.model == model }), let serving = entry.serving else {
      let nearest = Suggestion.nearest(to: model.name, among: table.lazy.map(\.model.name))
      throw ServingError(
        .notFound, "model \(model.name.quotedForMessage): not found or not live", suggestedModel: nearest)
    }
    var leaving = entry.routing.shares.map(\.version).filter { $0 != serving }
    if leaving.isEmpty { leaving = [serving] }
    for version in leaving where !canQuarantine(VersionKey(model, version)) {
      throw .notFound(
        "model \(model.name.quotedForMessage): no other good version is live to go back to from \(version)")
    }
    for version in leaving { enterQuarantine(VersionKey(model, version), .undo, reason: "undone", now: now) }
    return settle(now: now)
  }

  private func canQuarantine(_ key: VersionKey) -> Bool {
    let rollout = rollouts[key.model] ?? ModelRollout()
    return !rollout.memory.quarantinedVersions.contains(key.version)
      && policy.fallback(
        from: key.version, candidates(of: key.model), rollout: rollout.policy, memory: rollout.memory) != nil
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
          from: serving, candidates(of: entry.model), rollout: rollout.policy, memory: rollout.memory),
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
      policy: rollout.policy, served: rollout.memory.servedVersions)
  }
}
