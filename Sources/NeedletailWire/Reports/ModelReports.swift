public import NeedletailCore

/// One version of a model, in the answers to `ListModels` and `Health`.
public struct VersionReport: Sendable, Equatable {
  public var version: UInt64
  /// State of the version; nil if the server named one that this client does not know.
  public var state: VersionState?
  /// Why it was rejected, or what it waits for; empty otherwise.
  public var reason: String
  /// SHA-256 of the bundle's manifest, lower-case hexadecimal.
  public var digest: String
  /// Name of the key that signed it; empty if unsigned.
  public var signer: String
  /// Unix time at which it entered this state.
  public var sinceMilliseconds: UInt64
  public var residentBytes: UInt64
  /// Figures of its answers; nil unless it is live, and from servers that do not send them.
  public var traffic: VersionTrafficReport?

  public init(
    version: UInt64, state: VersionState?, reason: String = "", digest: String = "", signer: String = "",
    sinceMilliseconds: UInt64 = 0, residentBytes: UInt64 = 0, traffic: VersionTrafficReport? = nil
  ) {
    self.version = version
    self.state = state
    self.reason = reason
    self.digest = digest
    self.signer = signer
    self.sinceMilliseconds = sinceMilliseconds
    self.residentBytes = residentBytes
    self.traffic = traffic
  }
}

/// Figures of the answers of a live version.
public struct VersionTrafficReport: Sendable, Equatable {
  /// Predict calls that reached it since it is live.
  public var requests: UInt64 = 0
  /// Calls of these that did not end in OK.
  public var failed: UInt64 = 0
  /// Rows answered since it is live.
  public var rows: UInt64 = 0
  /// Calls, failed calls and rows within the last ``windowMilliseconds``.
  public var recentRequests: UInt64 = 0
  public var recentFailed: UInt64 = 0
  public var recentRows: UInt64 = 0
  public var windowMilliseconds: UInt32 = 0
  /// Part of the model's recent requests that this version got, in millionths.
  public var shareMillionths: UInt32 = 0
  /// Quantiles of the recent answers, from the request's last byte to its answer; 0 if there were none.
  public var p50Microseconds: UInt32 = 0
  public var p99Microseconds: UInt32 = 0

  public init() {}

  /// Recent requests a second; 0 before the first window.
  public var requestsPerSecond: Double {
    windowMilliseconds == 0 ? 0 : Double(recentRequests) * 1000 / Double(windowMilliseconds)
  }
}

/// A model and its versions.
public struct ModelStatusReport: Sendable, Equatable {
  public var model: String
  /// The version that answers a request without a selector; 0 if there is none.
  public var servingVersion: UInt64
  /// Newest first.
  public var versions: [VersionReport]

  public init(model: String, servingVersion: UInt64, versions: [VersionReport]) {
    self.model = model
    self.servingVersion = servingVersion
    self.versions = versions
  }
}

/// A file of the store that is no bundle of any model, or the store itself.
public struct StoreProblemReport: Sendable, Equatable {
  /// Place below the store.
  public var path: String
  public var reason: String

  public init(path: String, reason: String) {
    self.path = path
    self.reason = reason
  }
}

/// The answer to `ListModels`.
public struct ModelListReport: Sendable, Equatable {
  public var models: [ModelStatusReport]
  public var problems: [StoreProblemReport]

  public init(models: [ModelStatusReport], problems: [StoreProblemReport] = []) {
    self.models = models
    self.problems = problems
  }
}

/// The answer to `Health`.
public struct HealthReport: Sendable, Equatable {
  /// The process runs.
  public var live: Bool
  /// The server takes traffic.
  public var ready: Bool
  public var models: [ModelStatusReport]

  public init(live: Bool, ready: Bool, models: [ModelStatusReport]) {
    self.live = live
    self.ready = ready
    self.models = models
  }
}

extension HealthReport: WireMessage {
  static let wireName: StaticString = "HealthResponse"

  init() { self.init(live: false, ready: false, models: []) }

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    fields.flag(1, &live)
    fields.flag(2, &ready)
    try fields.messages(3, &models)
  }
}

extension ModelListReport: WireMessage {
  static let wireName: StaticString = "ListModelsResponse"

  init() { self.init(models: []) }

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    try fields.messages(1, &models)
    try fields.messages(2, &problems)
  }
}

extension StoreProblemReport: WireMessage {
  static let wireName: StaticString = "StoreProblem"

  init() { self.init(path: "", reason: "") }

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    fields.text(1, &path)
    fields.text(2, &reason)
  }
}

extension ModelStatusReport: WireMessage {
  static let wireName: StaticString = "ModelStatus"

  init() { self.init(model: "", servingVersion: 0, versions: []) }

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    fields.text(1, &model)
    fields.number(2, &servingVersion)
    try fields.messages(3, &versions)
  }
}

extension VersionReport: WireMessage {
  static let wireName: StaticString = "VersionStatus"

  init() { self.init(version: 0, state: nil) }

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    fields.number(1, &version)
    fields.choice(2, &state)
    fields.text(3, &reason)
    fields.text(4, &digest)
    fields.text(5, &signer)
    fields.number(6, &sinceMilliseconds)
    fields.number(7, &residentBytes)
    try fields.message(8, &traffic)
  }
}

extension VersionTrafficReport: WireMessage {
  static let wireName: StaticString = "VersionTraffic"

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    fields.number(1, &requests)
    fields.number(2, &failed)
    fields.number(3, &rows)
    fields.number(4, &recentRequests)
    fields.number(5, &recentFailed)
    fields.number(6, &recentRows)
    fields.number(7, &windowMilliseconds)
    fields.number(8, &shareMillionths)
    fields.number(9, &p50Microseconds)
    fields.number(10, &p99Microseconds)
  }
}

/// One input or output of a model.
public struct TensorSpecReport: Sendable, Equatable {
  public var name: String
  /// Element type; nil if the server named one that this client does not know.
  public var type: DataType?
  /// Sizes of the dimensions; 0 stands for the batch dimension, and for one that each answer says.
  public var shape: [UInt64]
  /// The known categories of a categorical feature; empty otherwise.
  public var categories: [String]
  /// True if the feature may be missing (NaN, or an empty string).
  public var optional: Bool
  /// One sentence for people.
  public var summary: String
  /// True for free text, which counts as it is.
  public var isText: Bool

  public init(
    name: String, type: DataType?, shape: [UInt64], categories: [String] = [], optional: Bool = false,
    summary: String = "", isText: Bool = false
  ) {
    self.isText = isText
    self.name = name
    self.type = type
    self.shape = shape
    self.categories = categories
    self.optional = optional
    self.summary = summary
  }
}

/// The answer to `DescribeModel`.
public struct ModelDescription: Sendable, Equatable {
  public var model: String
  public var version: UInt64
  /// State of the version; nil if the server named one that this client does not know.
  public var state: VersionState?
  /// `classification` or `regression`.
  public var task: String
  /// Inputs in the order of the columns of a dense `features` tensor.
  public var inputs: [TensorSpecReport]
  public var outputs: [TensorSpecReport]
  /// Label of every class, by class index.
  public var labels: [String]
  public var digest: String
  /// Name of the key that signed it; empty if unsigned.
  public var signer: String
  public var createdMilliseconds: UInt64
  /// Figures on the test split when the model was trained.
  public var metrics: [String: Double]
  public var lineage: [String: String]
  /// `int8`, `fp32` or `mixed`.
  public var precision: String
  /// The instruction set the plan was compiled for.
  public var isa: String
  public var residentBytes: UInt64
  /// The steps of the compiled plan, for people.
  public var plan: [String]
  /// Report about this version from ``ModelListReport``; nil from servers that do not send it.
  public var status: VersionReport?
  /// Why the server computes it this way, for people.
  public var planChoice: String
  /// How the model reads text; nil for one that compares bytes.
  public var valueRules: ValueRules?

  public init(
    model: String, version: UInt64, state: VersionState?, task: String = "", inputs: [TensorSpecReport] = [],
    outputs: [TensorSpecReport] = [], labels: [String] = [], digest: String = "", signer: String = "",
    createdMilliseconds: UInt64 = 0, metrics: [String: Double] = [:], lineage: [String: String] = [:],
    precision: String = "", isa: String = "", residentBytes: UInt64 = 0, plan: [String] = [],
    status: VersionReport? = nil, planChoice: String = "", valueRules: ValueRules? = nil
  ) {
    self.model = model
    self.version = version
    self.state = state
    self.task = task
    self.inputs = inputs
    self.outputs = outputs
    self.labels = labels
    self.digest = digest
    self.signer = signer
    self.createdMilliseconds = createdMilliseconds
    self.metrics = metrics
    self.lineage = lineage
    self.precision = precision
    self.isa = isa
    self.residentBytes = residentBytes
    self.plan = plan
    self.status = status
    self.planChoice = planChoice
    self.valueRules = valueRules
  }
}

extension ModelDescription: WireMessage {
  static let wireName: StaticString = "DescribeModelResponse"

  init() { self.init(model: "", version: 0, state: nil) }

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    fields.text(1, &model)
    fields.number(2, &version)
    fields.choice(3, &state)
    fields.text(4, &task)
    try fields.messages(5, &inputs)
    try fields.messages(6, &outputs)
    fields.texts(7, &labels)
    fields.text(8, &digest)
    fields.text(9, &signer)
    fields.number(10, &createdMilliseconds)
    try fields.map(11, &metrics)
    try fields.map(12, &lineage)
    fields.text(13, &precision)
    fields.text(14, &isa)
    fields.number(15, &residentBytes)
    fields.texts(16, &plan)
    try fields.message(17, &status)
    fields.text(18, &planChoice)
    try fields.message(19, &valueRules)
  }
}

extension ValueRules: WireMessage {
  static let wireName: StaticString = "ValueRules"

  init() { self.init(missing: []) }

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    fields.texts(1, &missing)
    // No mark is 0, which is not sent.
    var thousands = numbers.thousands == .none ? nil : numbers.thousands as NumberStyle.Thousands?
    fields.choice(2, &thousands)
    numbers.thousands = thousands ?? NumberStyle.Thousands.none
    fields.flag(3, &numbers.hasDecimalComma)
    fields.flag(4, &numbers.allowsUnits)
  }
}

extension TensorSpecReport: WireMessage {
  static let wireName: StaticString = "TensorSpec"

  init() { self.init(name: "", type: nil, shape: []) }

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    fields.text(1, &name)
    fields.choice(2, &type)
    try fields.packed(3, &shape)
    fields.texts(4, &categories)
    fields.flag(5, &optional)
    fields.text(6, &summary)
    fields.flag(7, &isText)
  }
}
