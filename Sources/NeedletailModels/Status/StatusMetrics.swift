internal import NeedletailCore
internal import NeedletailMetrics

/// Shows a ``StoreStatus`` to Prometheus: gauges of the present state. Only what differs from the status shown last is
/// touched; series of versions that are gone go with them, counters included, for versions come and go as long as the
/// server runs.
struct StatusMetrics {
  private let metrics: MetricsRegistry
  private let problems: Gauge
  private var shown: [ModelID: ModelStatus] = [:]

  private static let stateName = "needletail_model_version_state"

  init(_ metrics: MetricsRegistry) {
    self.metrics = metrics
    problems = metrics.gauge(
      "needletail_store_problems", help: "Files in the store that are no bundle of any model.")
  }

  mutating func show(_ status: StoreStatus) {
    problems.set(Double(status.problems.count))
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
      name: "needletail_rollout_file_invalid", help: "1 while a model's rollout.yaml cannot be used."
    ) { model in
      guard model.rollout.problem.isEmpty else { return 1 }
      return model.rollout.file.isEmpty ? nil : 0
    },
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
