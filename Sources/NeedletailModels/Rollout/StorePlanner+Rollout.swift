package import NeedletailCore
internal import NeedletailYAML

/// What the planner keeps of one model's rollout.
package struct ModelRollout: Sendable, Equatable {
  /// In force: the last file that was good, or none.
  package var policy = RolloutPolicy()
  package var memory = RolloutMemory()
  /// Why the file that lies there now is not in force; nil if it is.
  package var problem: String?

  package init() {}

  /// A server that comes back goes on with what was in force.
  package init(memory: RolloutMemory) {
    self.memory = memory
    guard !memory.file.isEmpty else { return }
    do throws(YAMLError) {
      policy = try RolloutFile(parsing: memory.file).policy
    } catch {
      // Another release of this server wrote it: the file in the store is judged anew.
      self.memory.file = ""
    }
  }
}

/// What a scan found of one model's `rollout.yaml`.
package enum RolloutFinding: Sendable, Equatable {
  case file(RolloutFile)
  /// It is there and cannot be used: one sentence.
  case invalid(String)
}

/// Something that happened to a rollout, for people and metrics.
package enum RolloutEvent: Sendable, Equatable {
  case accepted
  case removed
  case refused(String)
  case setAside(ModelVersion, SetAsideCause, reason: String)
  /// A newer file lets these versions back in.
  case readmitted([ModelVersion])
}

extension StorePlanner {
  /// Takes in the rollout files of a scan. A file that is not good changes nothing.
  mutating func observeRollouts(_ snapshot: StoreSnapshot, _ actions: inout [Action]) {
    for model in Set(snapshot.rollouts.keys).union(rollouts.keys).sorted() {
      var rollout = rollouts[model] ?? ModelRollout()
      switch snapshot.rollouts[model] {
      case .file(let file):
        rollout.problem = nil
        if file.text != rollout.memory.file {
          rollout.policy = file.policy
          rollout.memory.file = file.text
          actions.append(.rollout(model, .accepted))
          let back = rollout.memory.asideVersions
          if !back.isEmpty { actions.append(.rollout(model, .readmitted(back.sorted()))) }
          rollout.memory.setAside = []
        }
      case .invalid(let problem):
        if rollout.problem != problem { actions.append(.rollout(model, .refused(problem))) }
        rollout.problem = problem
      case nil:
        guard snapshot.isReadable, !snapshot.unreadableModels.contains(model) else { continue }
        rollout.problem = nil
        if !rollout.memory.file.isEmpty {
          // What was set aside stays so: nobody has said that it is good again.
          rollout.policy = RolloutPolicy()
          rollout.memory.file = ""
          actions.append(.rollout(model, .removed))
        }
      }
      rollouts[model] = rollout
    }
  }

  /// Takes all traffic from one version, and gives it to what would serve without it.
  /// - Returns: nil if nothing good could answer in its place; then nothing has changed.
  package mutating func setAside(
    _ key: VersionKey, cause: SetAsideCause, reason: String, now: Moment
  ) -> [Action]? {
    var rollout = rollouts[key.model] ?? ModelRollout()
    let candidates = candidates(of: key.model)
    guard !rollout.memory.asideVersions.contains(key.version),
      policy.fallback(from: key.version, candidates, rollout: rollout.policy, memory: rollout.memory) != nil
    else { return nil }
    rollout.memory.setAside.append(
      .init(version: key.version.number, cause: cause, reason: reason, sinceMilliseconds: now.milliseconds))
    if rollout.memory.setAside.count > Limits.storeVersionsMax { rollout.memory.setAside.removeFirst() }
    rollouts[key.model] = rollout
    var actions: [Action] = []
    settle(now: now, &actions)
    actions.append(.rollout(key.model, .setAside(key.version, cause, reason: reason)))
    return actions
  }

  /// Goes back one step: from the arms of a split to the version they are compared with, else from the
  /// version that serves to the one that served before.
  package mutating func undo(_ model: ModelID, now: Moment) throws(ServingError) -> [Action] {
    guard let entry = table.first(where: { $0.model == model }), let serving = entry.serving else {
      let nearest = Suggestion.nearest(to: model.name, among: table.lazy.map(\.model.name))
      throw ServingError(
        .notFound, "model \(model.name.quotedForMessage): not found or not live", suggestedModel: nearest)
    }
    var leaving = entry.routing.shares.map(\.version).filter { $0 != serving }
    if leaving.isEmpty { leaving = [serving] }
    var actions: [Action] = []
    for version in leaving {
      guard let more = setAside(VersionKey(model, version), cause: .undo, reason: "undone", now: now) else {
        throw .notFound(
          "model \(model.name.quotedForMessage): no other good version is live to go back to from \(version)")
      }
      actions += more
    }
    return actions
  }

  /// Which versions a guard compares with which.
  package struct GuardedPair: Sendable, Equatable {
    package var key: VersionKey
    package var baseline: ModelVersion
    package var limits: GuardLimits
  }

  /// Models whose counters the guard has to see.
  var guardedModels: Set<ModelID> {
    Set(rollouts.compactMap { model, rollout in rollout.policy.limits == nil ? nil : model })
  }

  /// Every version that gets traffic and has another to give way to.
  package var guarded: [GuardedPair] {
    var pairs: [GuardedPair] = []
    for entry in table {
      guard let rollout = rollouts[entry.model], let limits = rollout.policy.limits, let serving = entry.serving else {
        continue
      }
      let others = Set(entry.routing.shares.map(\.version) + entry.routing.labels.compactMap(\.version))
      for version in others.sorted() where version != serving {
        pairs.append(.init(key: VersionKey(entry.model, version), baseline: serving, limits: limits))
      }
      // The stable version of a split is what is good by definition.
      let stable = rollout.policy.labels.first { $0.name == RolloutPolicy.stableLabel }?.version
      guard stable != serving, entry.routing.shares.isEmpty,
        rollout.memory.servedVersions.contains(where: { $0 != serving }),
        let back = policy.fallback(
          from: serving, candidates(of: entry.model), rollout: rollout.policy, memory: rollout.memory),
        rollout.memory.servedVersions.contains(back)
      else { continue }
      pairs.append(.init(key: VersionKey(entry.model, serving), baseline: back, limits: limits))
    }
    return pairs
  }

  func candidates(of model: ModelID) -> [VersionPolicy.Candidate] {
    candidates(records.keys.filter { $0.model == model })
  }

  /// Everything that is known of one model's rollout, for people.
  func rolloutStatus(_ model: ModelID, _ entry: TableEntry?) -> RolloutStatus {
    let rollout = rollouts[model] ?? ModelRollout()
    return RolloutStatus(
      file: rollout.memory.file, problem: rollout.problem ?? "", routing: entry?.routing ?? ModelRouting(),
      setAside: rollout.memory.setAside.compactMap { aside in
        ModelVersion(aside.version).map {
          .init(version: $0, cause: aside.cause, reason: aside.reason, sinceMilliseconds: aside.sinceMilliseconds)
        }
      },
      policy: rollout.policy, served: rollout.memory.servedVersions)
  }
}
