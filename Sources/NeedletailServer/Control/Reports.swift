internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailMetrics
internal import NeedletailModels
internal import NeedletailServing
internal import NeedletailWire

// The status of models, events and live models as messages of the protocol. JSON and the terminal are rendered from
// these messages.

extension ModelListReport {
  init(_ status: StoreStatus) {
    self.init(
      models: status.models.map(ModelStatusReport.init),
      problems: status.problems.map { StoreProblemReport(path: $0.path, reason: $0.reason) })
  }
}

extension ModelStatusReport {
  init(_ status: ModelStatus) {
    self.init(
      model: status.model.name, servingVersion: status.serving?.number ?? 0,
      versions: status.versions.map(VersionReport.init))
  }
}

extension VersionReport {
  init(_ status: VersionStatus) {
    self.init(
      version: status.version.number, state: status.state, reason: status.reason, digest: status.digest,
      signer: status.signer, sinceMilliseconds: status.sinceMilliseconds,
      residentBytes: UInt64(clamping: status.residentBytes), traffic: status.traffic.map(VersionTrafficReport.init))
  }
}

extension VersionTrafficReport {
  init(_ traffic: VersionTraffic) {
    self.init()
    requests = traffic.requests
    failed = traffic.failed
    rows = traffic.rows
    recentRequests = traffic.recentRequests
    recentFailed = traffic.recentFailed
    recentRows = traffic.recentRows
    windowMilliseconds = traffic.windowMilliseconds
    shareMillionths = UInt32((traffic.share * 1e6).rounded())
    p50Microseconds = traffic.p50Microseconds ?? 0
    p99Microseconds = traffic.p99Microseconds ?? 0
  }
}

// MARK: - Rollouts

extension RolloutReport {
  /// - Parameters:
  ///   - shadow: what the live shadow has counted; nil if none is live.
  ///   - isDurable: whether what is undone or quarantined outlives the process.
  init(_ status: ModelStatus, shadow counters: ShadowCounters?, isDurable: Bool) {
    self.init()
    let rollout = status.rollout
    model = status.model.name
    servingVersion = status.serving?.number ?? 0
    arms = status.versions.filter { $0.state == .live }.map(Arm.init)
    quarantined = rollout.quarantined.map(Quarantined.init)
    labels = rollout.policy.labels.map { Label($0, status) }
    shadow = status.shadow.map { Shadow($0.version, problem: $0.problem, counters) }
    file = rollout.file
    problem = rollout.fileProblem
    self.isDurable = isDurable
  }
}

extension RolloutReport.Arm {
  fileprivate init(_ status: VersionStatus) {
    self.init()
    let counts = status.counts ?? VersionCounts()
    version = status.version.number
    labels = status.labels
    shareMillionths = UInt32((status.share * 1e6).rounded())
    requests = counts.requests
    failed = counts.failures
    rows = counts.rows
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

extension RolloutReport.Quarantined {
  fileprivate init(_ entry: RolloutStatus.Quarantined) {
    self.init()
    version = entry.version.number
    cause = entry.cause.rawValue
    reason = entry.reason
    sinceMilliseconds = entry.sinceMilliseconds
  }
}

extension RolloutReport.Shadow {
  fileprivate init(_ version: ModelVersion, problem: String, _ counters: ShadowCounters?) {
    self.init()
    self.version = version.number
    self.problem = problem
    guard let counters else { return }
    rows = counters.rows.value
    flips = counters.flips.value
    skipped = counters.busy.value &+ counters.incompatible.value
    nonFinite = counters.nonFinite.value
    maxDifference = counters.maxDifference.value
    let batches = counters.compute.count
    computeNanoseconds = batches == 0 ? 0 : UInt64(counters.compute.sum * 1e9 / Double(batches))
  }
}

// MARK: - Events

extension EventListReport {
  init(_ page: EventLog.Page, beganMilliseconds: UInt64) {
    self.init(
      oldest: page.oldest, newest: page.newest, events: page.events.map(EventReport.init),
      beganMilliseconds: beganMilliseconds)
  }

  /// The events about some models only.
  /// - Parameter models: nil: all.
  func showing(_ models: [NamePattern]?) -> EventListReport {
    guard let models else { return self }
    var shown = self
    shown.events.removeAll { event in !models.contains { $0.matches(event.model) } }
    return shown
  }
}

extension EventReport {
  init(_ event: Event) {
    self.init(
      sequence: event.sequence, milliseconds: event.milliseconds, kind: event.kind.rawValue,
      severity: event.severity.rawValue, message: event.message, model: event.model?.name ?? "",
      version: event.version?.number ?? 0, facts: event.facts.map { Fact($0.name, $0.value) })
  }
}

// MARK: - Descriptions

extension ModelDescription {
  init(_ live: LiveModel) {
    let definition = live.compiled.definition
    let plan = live.compiled.plan
    self.init(
      model: live.model.name, version: live.version.number, state: .live, task: definition.graph.task.rawValue,
      inputs: definition.schema.features.map(TensorSpecReport.init),
      outputs: plan.answerTensors.filter { $0.form.content != .source }.map(TensorSpecReport.init),
      labels: definition.labels, digest: live.digest, signer: live.signer,
      createdMilliseconds: live.createdMilliseconds, metrics: live.trainingMetrics,
      lineage: live.lineage?.facts ?? [:], precision: plan.precision, isa: plan.isa.rawValue,
      residentBytes: UInt64(clamping: live.residentBytes), plan: plan.steps.map(\.description),
      planChoice: live.compiled.choice?.description ?? "", valueRules: definition.schema.rules)
  }
}

extension TensorSpecReport {
  /// A column as a client sends it by name.
  init(_ feature: Feature) {
    var type = DataType.float32
    var categories: [String] = []
    var summary = feature.summary
    let isText = feature.kind == .text
    switch feature.kind {
    case .numeric: break
    case .text: type = .string
    case .categorical(let names, _):
      type = .string
      categories = names
    case .datetime(let order):
      type = .string
      if summary.isEmpty { summary = order.words }
    }
    self.init(
      name: feature.name, type: type, shape: [0], categories: categories, optional: feature.missing == .impute,
      summary: summary, isText: isText)
  }

  /// An output as answers have it.
  init(_ tensor: AnswerTensor) {
    let form = tensor.form
    var shape: [UInt64] = [0]
    if form.isNumbers {
      if form.columns != 1 { shape.append(UInt64(clamping: form.columns)) }
    } else if form.isList {
      shape.append(0)
    }
    let isAsked = form.content == .part(.numbers)
    self.init(name: tensor.name, type: form.type, shape: shape, summary: isAsked ? "only where asked for by name" : "")
  }
}
