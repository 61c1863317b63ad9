internal import NeedletailBundle
internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailMetrics

/// Tells people and metrics what happened: each ``Reconciler/Notice`` becomes an event, and counts what is counted.
/// Belongs to ``ControlLoop``.
struct StatusReporter {
  private let metrics: MetricsRegistry
  private let eventLog: EventLog
  private let allowUnsigned: Gauge
  private let trustErrors: Counter
  private let trustInvalid: Gauge
  /// Problems of the store that were told already.
  private var knownProblems: Set<StoreProblem> = []
  /// Shadows that are given no rows of some version, and why, as told already.
  private var refusedShadows: [VersionKey: String] = [:]

  init(_ metrics: MetricsRegistry, eventLog: EventLog) {
    self.metrics = metrics
    self.eventLog = eventLog
    allowUnsigned = metrics.gauge("needletail_allow_unsigned", help: "1 if bundles without a signature are accepted.")
    trustErrors = metrics.counter(
      "needletail_trust_errors_total", help: "Trust files that could not be used; the last good one stays in force.")
    trustInvalid = metrics.gauge(
      "needletail_trust_file_invalid", help: "1 while the trust file cannot be used and the last good one is in force.")
    trustInvalid.set(0)
  }

  /// - Parameter live: the version that the notice is about, if it is in memory.
  func tell(_ notice: Reconciler.Notice, live: LiveModel?) {
    switch notice {
    case .state(let event): tell(event, live: live)
    case .rejected(let rejection, let key): count(rejection, of: key)
    case .trust(let key, let rejection): tellTrust(of: key, rejection)
    case .rollout(let model, let event): tell(model, event)
    case .swapped(let model, let old, let new): tellSwap(model, from: old, to: new)
    }
  }

  // MARK: versions

  private func tell(_ event: LifecycleEvent, live: LiveModel?) {
    var facts = [Event.Fact("state", event.state.description), Event.Fact("reason", event.reason)]
    if event.state == .live, let live {
      showPlan(live)
      facts += [
        .init("digest", String(live.digest.prefix(12))), .init("signer", live.signer),
        .init("resident_bytes", live.residentBytes),
        .init("plan", live.compiled.choice?.description ?? ""),
      ]
    }
    eventLog.emit(
      .version, Self.severity(of: event), "model version \(event.state)", model: event.model,
      version: event.version, facts)
  }

  /// What asks for somebody's attention is a warning; the steps in between are for debugging.
  private static func severity(of event: LifecycleEvent) -> Event.Severity {
    switch event.state {
    case .rejected: .warning
    case .live: event.reason.isEmpty ? .notice : .warning
    case .retired, .retiring: .info
    case .incomplete: event.reason.isEmpty ? .debug : .info
    case .verifying, .loading, .checking, .warming: .debug
    }
  }

  /// How the version is computed on this CPU, and the timings behind that choice.
  private func showPlan(_ model: LiveModel) {
    let labels = StatusMetrics.labels(model.model, model.version)
    let plan = model.compiled.plan
    metrics.gauge(
      "needletail_model_plan_info", help: "1; the labels tell how a live version is computed.",
      labels: labels + [
        ("isa", plan.isa.rawValue), ("precision", plan.precision),
        ("stored", model.compiled.choice?.dequantises == true ? "no" : "yes"),
      ]
    ).set(1)
    for timing in model.compiled.choice?.timings ?? [] {
      metrics.gauge(
        "needletail_model_plan_trial_seconds",
        help: "What the dense layers of a version took when it was loaded, in each way that was timed.",
        labels: labels + [
          ("isa", timing.isa.rawValue), ("precision", timing.precision), ("rows", "\(timing.rows)"),
        ]
      ).set(timing.microseconds / 1e6)
    }
  }

  private func tellSwap(_ model: ModelID, from old: ModelVersion?, to new: ModelVersion) {
    let swaps = metrics.counter(
      "needletail_model_swaps_total", help: "How often another version took over from one that served.",
      labels: [("model", model.name)])
    if old != nil { swaps.add() }
    eventLog.emit(
      .serving, .notice, "model serves", model: model, version: new,
      [.init("previous", old?.description ?? "none")])
  }

  /// Tells that a version's kernels were timed again, because its runs took so many times what warming measured.
  func tell(timedAgain key: VersionKey, ratio: Double, changed: Int) {
    eventLog.emit(
      .version, .notice, "kernels timed again", model: key.model, version: key.version,
      [
        .init("reason", "runs take \((100 * ratio).rounded() / 100) times what warming measured"),
        .init("changed", changed),
      ])
  }

  private func count(_ rejection: Rejection, of key: VersionKey) {
    metrics.counter(
      "needletail_bundles_rejected_total", help: "Bundles refused, by reason.",
      labels: [("model", key.model.name), ("reason", rejection.label)]
    ).add()
  }

  // MARK: trust

  private func tellTrust(of key: VersionKey, _ rejection: Rejection?) {
    if let rejection {
      eventLog.emit(
        .alarm, .error, "live version no longer trusted", model: key.model, version: key.version,
        [.init("reason", rejection.message)])
    } else {
      eventLog.emit(.trust, .notice, "live version trusted again", model: key.model, version: key.version)
    }
  }

  /// Shows the policy that is in force from the start.
  func show(_ policy: TrustPolicy) { allowUnsigned.set(policy.allowUnsigned ? 1 : 0) }

  /// Tells of a new policy.
  func tell(_ policy: TrustPolicy) {
    show(policy)
    trustInvalid.set(0)
    eventLog.emit(.trust, .notice, "trust file read", [.init("keys", policy.keys.count)])
  }

  func tell(trustFileRefused error: BundleError) {
    trustErrors.add()
    trustInvalid.set(1)
    eventLog.emit(
      .trust, .error, "trust file refused, the last good one stays in force", [.init("reason", error.message)])
  }

  // MARK: rollouts

  private func tell(_ model: ModelID, _ event: RolloutEvent) {
    switch event {
    case .accepted(let policy, let owner):
      let text = policy.yaml.split(separator: "\n").joined(separator: "; ")
      eventLog.emit(
        .rollout, .notice, policy.isRetired ? "model retired by its rollout file" : "rollout file in force",
        model: model, Self.audit("done", owner) + [.init("policy", text)])
    case .removed:
      eventLog.emit(
        .rollout, .warning,
        "rollout file gone, it stays in force until another one says otherwise (serve: latest for the newest version)",
        model: model)
    case .refused(let reason, isHeld: false, let owner):
      eventLog.emit(
        .rollout, .warning, "rollout file refused, the last good one stays in force", model: model,
        Self.audit("failed", owner) + [.init("reason", reason)])
    case .refused(let reason, isHeld: true, let owner):
      eventLog.emit(
        .alarm, .error, "rollout file refused and no earlier one known: nothing new goes live", model: model,
        Self.audit("failed", owner) + [.init("reason", reason)])
    case .quarantined(let version, let cause, let reason):
      metrics.counter(
        "needletail_rollbacks_total", help: "Versions that lost their traffic, by cause.",
        labels: [("model", model.name), ("cause", cause.rawValue)]
      ).add()
      eventLog.emit(
        cause == .undo ? .rollout : .alarm, cause == .undo ? .notice : .error, "version quarantined", model: model,
        version: version, [.init("cause", cause.rawValue), .init("reason", reason)])
    case .readmitted(let versions):
      eventLog.emit(
        .rollout, .notice, "versions no longer quarantined", model: model,
        [.init("versions", versions.map(\.description).joined(separator: ", "))])
    }
  }

  /// Who changed something by a file of the store, and what came of it. The kernel knows the file's owner; over a
  /// network file system that is whoever the mount says.
  private static func audit(_ outcome: String, _ owner: UInt32?) -> [Event.Fact] {
    [.init("audit", outcome), .init("by", owner.map { "uid \($0)" } ?? "unknown")]
  }

  /// Tells once which shadows cannot be compared, and why.
  mutating func tell(refusedShadows now: [VersionKey: String]) {
    for (key, reason) in now.sorted(by: { $0.key < $1.key }) where refusedShadows[key] != reason {
      eventLog.emit(
        .rollout, .warning, "shadow refused", model: key.model, version: key.version, [.init("reason", reason)])
    }
    refusedShadows = now
  }

  // MARK: store

  /// Tells each problem once, not with every scan.
  mutating func tell(_ problems: [StoreProblem]) {
    for problem in problems where !knownProblems.contains(problem) {
      eventLog.emit(
        .store, .warning, "store problem", [.init("path", problem.path), .init("reason", problem.reason)])
    }
    knownProblems = Set(problems)
  }
}

/// Shows a ``StoreStatus`` to Prometheus: gauges of the present state. Only what differs from the status shown last is
/// touched; series of versions that are gone go with them, counters included, for versions come and go as long as the
/// server runs.
struct StatusMetrics {
  private let metrics: MetricsRegistry
  private let problems: Gauge
  private let ready: Gauge
  private var shown: [ModelID: ModelStatus] = [:]

  private static let stateName = "needletail_model_version_state"

  init(_ metrics: MetricsRegistry) {
    self.metrics = metrics
    problems = metrics.gauge(
      "needletail_store_problems", help: "Files in the store that are no bundle of any model.")
    ready = metrics.gauge(
      "needletail_store_ready", help: "1 once the models that readiness asks for have served; 0 before.")
  }

  /// Shows the copies of state that could not be read, as long as somebody leaves them there.
  static func show(_ state: StateDirectory, in metrics: MetricsRegistry) {
    metrics.sampled(
      "needletail_state_unreadable_copies", kind: .gauge,
      help: "Files in the state directory that could not be read and were kept; remove them when they are dealt with."
    ) { Double(state.copies.count) }
  }

  mutating func show(_ status: StoreStatus) {
    problems.set(Double(status.problems.count))
    ready.set(status.isReady ? 1 : 0)
    let models = Dictionary(uniqueKeysWithValues: status.models.map { ($0.model, $0) })
    for (model, last) in shown where models[model] == nil {
      for version in last.versions { metrics.remove(labels: Self.labels(model, version.version)) }
      show(gone: last)
    }
    for (model, next) in models {
      let last = shown[model]
      if next != last { show(next, after: last) }
    }
    shown = models
  }

  private func show(gone model: ModelStatus) {
    let labels = [("model", model.model.name)]
    for gauge in ModelGauge.all where gauge.value(model) != nil { metrics.remove(gauge.name, labels: labels) }
  }

  private func show(_ next: ModelStatus, after last: ModelStatus?) {
    let labels = [("model", next.model.name)]
    for gauge in ModelGauge.all {
      let value = gauge.value(next)
      guard value != last.flatMap(gauge.value) else { continue }
      set(gauge.name, gauge.help, labels, value)
    }
    let known = Dictionary(uniqueKeysWithValues: (last?.versions ?? []).map { ($0.version, $0) })
    let present = Set(next.versions.map(\.version))
    for version in known.keys where !present.contains(version) {
      metrics.remove(labels: Self.labels(next.model, version))
    }
    for version in next.versions {
      show(version, of: next, after: known[version.version].flatMap { known in last.map { (known, $0) } })
    }
  }

  private func show(
    _ version: VersionStatus, of model: ModelStatus, after last: (version: VersionStatus, model: ModelStatus)?
  ) {
    let labels = Self.labels(model.model, version.version)
    guard version.state != .retired else {
      if let last, last.version.state != .retired { metrics.remove(labels: labels) }
      return
    }
    if version.state != last?.version.state {
      if let old = last?.version.state {
        metrics.remove(Self.stateName, labels: labels + [("state", old.description)])
      }
      set(
        Self.stateName, "1 for the state that a version of a model is in.",
        labels + [("state", version.state.description)], 1)
    }
    for gauge in VersionGauge.all {
      let value = gauge.value(version, model)
      guard value != last.flatMap({ gauge.value($0.version, $0.model) }) else { continue }
      set(gauge.name, gauge.help, labels, value)
    }
  }

  private func set(_ name: String, _ help: String, _ labels: [(String, String)], _ value: Double?) {
    guard let value else { return metrics.remove(name, labels: labels) }
    metrics.gauge(name, help: help, labels: labels).set(value)
  }

  static func labels(_ model: ModelID, _ version: ModelVersion) -> [(String, String)] {
    [("model", model.name), ("version", version.description)]
  }
}

/// A gauge of a model; no value leaves the series out.
private struct ModelGauge {
  let name: String
  let help: String
  let value: @Sendable (ModelStatus) -> Double?

  static let all: [ModelGauge] = [
    ModelGauge(
      name: "needletail_serving_version", help: "The version that answers requests that name none."
    ) { $0.serving.map { Double($0.number) } },
    ModelGauge(
      name: "needletail_model_serving",
      help: "1 while a version of a model answers, 0 while none does; absent for a model that is retired."
    ) { model in model.serving != nil ? 1 : model.rollout.isRetired ? nil : 0 },
    ModelGauge(
      name: "needletail_rollout_file_invalid", help: "1 while a model's rollout.yaml cannot be used."
    ) { model in
      guard model.rollout.problem.isEmpty else { return 1 }
      return model.rollout.file.isEmpty ? nil : 0
    },
    ModelGauge(
      name: "needletail_rollout_file_missing",
      help: "1 while the rollout.yaml in force is one that the store does not hold any more."
    ) { $0.rollout.isFileMissing ? 1 : nil },
  ]
}

/// A gauge of a version; no value leaves the series out.
private struct VersionGauge {
  let name: String
  let help: String
  let value: @Sendable (VersionStatus, ModelStatus) -> Double?

  static let all: [VersionGauge] = [
    VersionGauge(
      name: "needletail_model_resident_bytes", help: "Memory that a live version holds."
    ) { version, _ in version.residentBytes > 0 ? Double(version.residentBytes) : nil },
    VersionGauge(
      name: "needletail_model_untrusted",
      help: "1 while a version is live whose key, digest or number was withdrawn."
    ) { version, _ in version.state == .live && !version.isTrusted ? 1 : nil },
    VersionGauge(
      name: "needletail_traffic_share", help: "Share of requests without a selector that a version is to answer."
    ) { version, _ in version.state == .live ? version.share : nil },
    VersionGauge(
      name: "needletail_shadow_refused", help: "1 while a shadow version cannot be compared with one that answers."
    ) { version, model in
      version.version == model.rollout.routing.shadow && !model.rollout.shadowProblem.isEmpty ? 1 : nil
    },
  ]
}
