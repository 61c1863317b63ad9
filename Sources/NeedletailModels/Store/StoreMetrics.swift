internal import NeedletailBundle
internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailMetrics

/// What the store tells Prometheus.
struct StoreMetrics: Sendable {
  private let metrics: MetricsRegistry
  private let problems: Gauge
  private let allowUnsigned: Gauge
  private let trustErrors: Counter

  private static let stateName = "needletail_model_version_state"
  private static let servingName = "needletail_serving_version"
  private static let untrustedName = "needletail_model_untrusted"
  private static let residentName = "needletail_model_resident_bytes"

  init(_ metrics: MetricsRegistry) {
    self.metrics = metrics
    problems = metrics.gauge(
      "needletail_store_problems", help: "Files in the store that are no bundle of any model.")
    allowUnsigned = metrics.gauge("needletail_allow_unsigned", help: "1 if bundles without a signature are accepted.")
    trustErrors = metrics.counter(
      "needletail_trust_errors_total", help: "Trust files that could not be used; the last good one stays in force.")
  }

  func show(_ event: LifecycleEvent) {
    let labels = Self.labels(event.model, event.version)
    for state in VersionState.allCases where state != event.state {
      metrics.remove(Self.stateName, labels: labels + [("state", state.description)])
    }
    switch event.state {
    case .retired:
      // Its counters too: versions come and go for as long as the server runs.
      metrics.remove(labels: labels)
    default:
      metrics.gauge(
        Self.stateName, help: "1 for the state that a version of a model is in.",
        labels: labels + [("state", event.state.description)]
      ).set(1)
    }
  }

  func showResident(_ model: LiveModel) {
    metrics.gauge(
      Self.residentName, help: "Memory that a live version holds.", labels: Self.labels(model.model, model.version)
    ).set(Double(model.residentBytes))
  }

  func showTrust(_ key: VersionKey, isTrusted: Bool) {
    let labels = Self.labels(key.model, key.version)
    guard !isTrusted else { return metrics.remove(Self.untrustedName, labels: labels) }
    metrics.gauge(
      Self.untrustedName, help: "1 while a version is live whose key, digest or number was withdrawn.", labels: labels
    ).set(1)
  }

  /// What was chosen for this CPU, and the timings behind that.
  func showPlan(_ model: LiveModel) {
    let labels = Self.labels(model.model, model.version)
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

  func showServing(_ model: ModelID, from old: ModelVersion?, to new: ModelVersion) {
    let labels = [("model", model.name)]
    metrics.gauge(
      Self.servingName, help: "The version that answers requests that name none.", labels: labels
    ).set(Double(new.number))
    let swaps = metrics.counter(
      "needletail_model_swaps_total", help: "How often another version took over from one that served.", labels: labels)
    if old != nil { swaps.add() }
  }

  func countRejected(_ rejection: Rejection, of key: VersionKey) {
    metrics.counter(
      "needletail_bundles_rejected_total", help: "Bundles refused, by reason.",
      labels: [("model", key.model.name), ("reason", rejection.label)]
    ).add()
  }

  func forget(_ key: VersionKey) {
    metrics.remove(labels: Self.labels(key.model, key.version))
  }

  func show(problems count: Int) { problems.set(Double(count)) }

  func show(_ policy: TrustPolicy) { allowUnsigned.set(policy.allowUnsigned ? 1 : 0) }

  func countTrustError() { trustErrors.add() }

  private static func labels(_ model: ModelID, _ version: ModelVersion) -> [(String, String)] {
    [("model", model.name), ("version", version.description)]
  }
}
