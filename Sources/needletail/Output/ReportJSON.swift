internal import NeedletailClient

// The shapes of `--json`: part of the command line's interface, so they are written down here and do
// not follow renames inside the client. Keys are printed in snake case.

struct VersionJSON: Encodable {
  var version: UInt64
  var state: String
  var reason: String
  var digest: String
  var signer: String
  var sinceMs: UInt64
  var residentBytes: UInt64

  init(_ report: VersionReport) {
    version = report.version
    state = report.state?.description ?? "unknown"
    reason = report.reason
    digest = report.digest
    signer = report.signer
    sinceMs = report.sinceMilliseconds
    residentBytes = report.residentBytes
  }
}

struct ModelJSON: Encodable {
  var model: String
  var servingVersion: UInt64
  var versions: [VersionJSON]

  init(_ report: ModelStatusReport) {
    model = report.model
    servingVersion = report.servingVersion
    versions = report.versions.map(VersionJSON.init)
  }
}

struct ModelListJSON: Encodable {
  struct Problem: Encodable {
    var path: String
    var reason: String
  }

  var models: [ModelJSON]
  var problems: [Problem]

  init(_ report: ModelListReport) {
    models = report.models.map(ModelJSON.init)
    problems = report.problems.map { Problem(path: $0.path, reason: $0.reason) }
  }
}

struct HealthJSON: Encodable {
  var live: Bool
  var ready: Bool
  var models: [ModelJSON]

  init(_ report: HealthReport) {
    live = report.live
    ready = report.ready
    models = report.models.map(ModelJSON.init)
  }
}

struct DescriptionJSON: Encodable {
  struct Spec: Encodable {
    var name: String
    var type: String
    var shape: [UInt64]
    var categories: [String]
    var optional: Bool
    var description: String

    init(_ report: TensorSpecReport) {
      name = report.name
      type = report.type?.description ?? "UNKNOWN"
      shape = report.shape
      categories = report.categories
      optional = report.optional
      description = report.summary
    }
  }

  var model: String
  var version: UInt64
  var state: String
  var task: String
  var inputs: [Spec]
  var outputs: [Spec]
  var labels: [String]
  var digest: String
  var signer: String
  var createdMs: UInt64
  var metrics: [String: Double]
  var lineage: [String: String]
  var precision: String
  var isa: String
  var residentBytes: UInt64
  var plan: [String]
  var planChoice: String

  init(_ description: ModelDescription) {
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
  }
}
