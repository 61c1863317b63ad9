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
