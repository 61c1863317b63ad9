internal import NeedletailCore
internal import NeedletailMetrics
internal import NeedletailModels
internal import NeedletailServing
internal import NeedletailWire

extension ControlPlane {
  /// - Throws: `.notFound`.
  func rollout(of name: String) throws(ServingError) -> RolloutReport {
    let status = store.status
    guard let model = status.model(name) else {
      let nearest = Suggestion.nearest(to: name, among: status.models.lazy.map(\.model.name))
      throw ServingError(.notFound, "model \(name.quotedForMessage): not found", suggestedModel: nearest)
    }
    let entry = registry.current.entries.first { $0.model == model.model }
    return RolloutReport(model, entry, metrics: metrics, isDurable: store.isStateDurable)
  }

  /// - Throws: `.notFound` where there is nothing to go back to.
  func undoRollout(of name: String) async throws(ServingError) -> RolloutReport {
    let model = try rollout(of: name).model
    let isRemembered = try await store.undoRollout(of: ModelID(model))
    var report = try rollout(of: name)
    report.isDurable = isRemembered
    return report
  }
}

extension RolloutReport {
  init(_ status: ModelStatus, _ entry: ModelTable.Entry?, metrics: MetricsRegistry, isDurable: Bool) {
    self.init()
    let rollout = status.rollout
    model = status.model.name
    servingVersion = status.serving?.number ?? 0
    arms = (entry?.live ?? []).map { live in
      let share = rollout.share(of: live.version, serving: status.serving)
      let labels = rollout.routing.labels.filter { $0.version == live.version }.map(\.name)
      return Arm(live, share: share, labels: labels)
    }
    setAside = rollout.setAside.map(SetAside.init)
    labels = rollout.policy.labels.map { Label($0, status) }
    if let live = entry?.shadowModel {
      shadow = Shadow(live, ShadowCounters(live, metrics: metrics))
      shadow?.problem = entry?.shadowObstacle ?? ""
    } else if let wanted = rollout.policy.shadow {
      shadow = Shadow()
      shadow?.version = wanted.number
      shadow?.problem = "given no rows: \(status.reasonNotToShadow(wanted))"
    }
    file = rollout.file
    problem = rollout.problem
    self.isDurable = isDurable
  }
}

extension RolloutReport.Arm {
  fileprivate init(_ live: LiveModel, share: Double, labels: [String]) {
    self.init()
    let counts = RolloutGuard.Counts(live)
    version = live.version.number
    self.labels = labels
    shareMillionths = UInt32((share * 1e6).rounded())
    requests = counts.requests
    failed = counts.failures
    rows = live.counters.rows.value
    nonFinite = counts.nonFinite
    computeNanoseconds = UInt64(counts.meanMicroseconds * 1000)
  }
}

extension RolloutReport.Label {
  fileprivate init(_ label: RolloutPolicy.Label, _ status: ModelStatus) {
    self.init()
    let answering = status.rollout.routing.labels.first { $0.name == label.name }?.version
    name = label.name
    version = label.version.number
    self.answering = answering?.number ?? 0
    state = status.version(version)?.state
    reason = answering == label.version ? "" : status.reasonNotToAnswer(label.version)
  }
}

extension ModelStatus {
  fileprivate func reasonNotToShadow(_ version: ModelVersion) -> String {
    version == serving ? "it serves" : reasonNotToAnswer(version)
  }

  /// Why a version that the rollout names is not used.
  fileprivate func reasonNotToAnswer(_ version: ModelVersion) -> String {
    if let aside = rollout.setAside.first(where: { $0.version == version }) {
      return "set aside by \(aside.cause.rawValue): \(aside.reason)"
    }
    guard let known = self.version(version.number) else { return "not in the store" }
    return known.reason.isEmpty ? "\(known.state)" : "\(known.state): \(known.reason)"
  }
}

extension RolloutReport.SetAside {
  fileprivate init(_ aside: RolloutStatus.SetAside) {
    self.init()
    version = aside.version.number
    cause = aside.cause.rawValue
    reason = aside.reason
    sinceMilliseconds = aside.sinceMilliseconds
  }
}

extension RolloutReport.Shadow {
  fileprivate init(_ live: LiveModel, _ counters: ShadowCounters) {
    self.init()
    version = live.version.number
    rows = counters.rows.value
    flips = counters.flips.value
    skipped = counters.busy.value &+ counters.incompatible.value
    nonFinite = counters.nonFinite.value
    maxDifference = counters.maxDifference.value
    let batches = counters.compute.count
    computeNanoseconds = batches == 0 ? 0 : UInt64(counters.compute.sum * 1e9 / Double(batches))
  }
}
