internal import NeedletailCore

// The shapes of `--json` at the terminal and of JSON on the admin port: both are interfaces, so they are
// written down here and do not follow renames inside. Keys are printed in snake case.

package struct VersionJSON: Encodable {
  package var version: UInt64
  package var state: String
  package var reason: String
  package var digest: String
  package var signer: String
  package var sinceMs: UInt64
  package var residentBytes: UInt64
  package var traffic: TrafficJSON?

  package init(_ report: VersionReport) {
    version = report.version
    state = report.state?.description ?? "unknown"
    reason = report.reason
    digest = report.digest
    signer = report.signer
    sinceMs = report.sinceMilliseconds
    residentBytes = report.residentBytes
    traffic = report.traffic.map(TrafficJSON.init)
  }
}

package struct TrafficJSON: Encodable {
  package var requests: UInt64
  package var failed: UInt64
  package var rows: UInt64
  package var recentRequests: UInt64
  package var recentFailed: UInt64
  package var recentRows: UInt64
  package var windowMs: UInt32
  package var requestsPerSecond: Double
  /// Of the model's recent requests, 0 to 1.
  package var share: Double
  package var p50Us: UInt32?
  package var p99Us: UInt32?

  package init(_ report: VersionTrafficReport) {
    requests = report.requests
    failed = report.failed
    rows = report.rows
    recentRequests = report.recentRequests
    recentFailed = report.recentFailed
    recentRows = report.recentRows
    windowMs = report.windowMilliseconds
    requestsPerSecond = report.requestsPerSecond
    share = Double(report.shareMillionths) / 1e6
    p50Us = report.p50Microseconds > 0 ? report.p50Microseconds : nil
    p99Us = report.p99Microseconds > 0 ? report.p99Microseconds : nil
  }
}

package struct ModelJSON: Encodable {
  package var model: String
  package var servingVersion: UInt64
  package var versions: [VersionJSON]

  package init(_ report: ModelStatusReport) {
    model = report.model
    servingVersion = report.servingVersion
    versions = report.versions.map(VersionJSON.init)
  }
}

package struct ModelListJSON: Encodable {
  package struct Problem: Encodable {
    package var path: String
    package var reason: String
  }

  package var models: [ModelJSON]
  package var problems: [Problem]

  package init(_ report: ModelListReport) {
    models = report.models.map(ModelJSON.init)
    problems = report.problems.map { Problem(path: $0.path, reason: $0.reason) }
  }
}

package struct HealthJSON: Encodable {
  package var live: Bool
  package var ready: Bool
  package var models: [ModelJSON]

  package init(_ report: HealthReport) {
    live = report.live
    ready = report.ready
    models = report.models.map(ModelJSON.init)
  }
}

package struct DescriptionJSON: Encodable {
  package struct Spec: Encodable {
    package var name: String
    package var type: String
    package var shape: [UInt64]
    package var categories: [String]
    package var optional: Bool
    package var description: String

    package init(_ report: TensorSpecReport) {
      name = report.name
      type = report.type?.description ?? "UNKNOWN"
      shape = report.shape
      categories = report.categories
      optional = report.optional
      description = report.summary
    }
  }

  package var model: String
  package var version: UInt64
  package var state: String
  package var task: String
  package var inputs: [Spec]
  package var outputs: [Spec]
  package var labels: [String]
  package var digest: String
  package var signer: String
  package var createdMs: UInt64
  package var metrics: [String: Double]
  package var lineage: [String: String]
  package var precision: String
  package var isa: String
  package var residentBytes: UInt64
  package var plan: [String]
  package var planChoice: String
  package var status: VersionJSON?

  package init(_ description: ModelDescription) {
    model = description.model
    version = description.version
    state = description.state?.description ?? "unknown"
    task = description.task
    inputs = description.inputs.map(Spec.init)
    outputs = description.outputs.map(Spec.init)
    labels = description.labels
    digest = description.digest
    signer = description.signer
    createdMs = description.createdMilliseconds
    metrics = description.metrics
    lineage = description.lineage
    precision = description.precision
    isa = description.isa
    residentBytes = description.residentBytes
    plan = description.plan
    planChoice = description.planChoice
    status = description.status.map(VersionJSON.init)
  }
}

package struct EventJSON: Encodable {
  package var sequence: UInt64
  package var timeMs: UInt64
  package var kind: String
  package var severity: String
  package var message: String
  /// Absent where the event is about no model, or about all its versions.
  package var model: String?
  package var version: UInt64?
  package var facts: [String: String]

  package init(_ report: EventReport) {
    sequence = report.sequence
    timeMs = report.milliseconds
    kind = report.kind
    severity = report.severity
    message = report.message
    model = report.model.isEmpty ? nil : report.model
    version = report.version == 0 ? nil : report.version
    facts = Dictionary(report.facts.map { ($0.name, $0.value) }) { first, _ in first }
  }
}

package struct EventListJSON: Encodable {
  package var oldest: UInt64
  package var newest: UInt64
  package var beganMs: UInt64
  package var events: [EventJSON]

  package init(_ report: EventListReport) {
    oldest = report.oldest
    newest = report.newest
    beganMs = report.beganMilliseconds
    events = report.events.map(EventJSON.init)
  }
}
