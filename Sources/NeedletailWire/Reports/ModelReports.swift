public import NeedletailCore

/// One version of a model, as `ListModels` and `Health` tell it.
public struct VersionReport: Sendable, Equatable {
  public var version: UInt64
  /// Nil where the server named a state that this client does not know.
  public var state: VersionState?
  /// Why it was rejected, or what it waits for; empty otherwise.
  public var reason: String
  /// SHA-256 of the bundle's directory, lower-case hexadecimal.
  public var digest: String
  /// Name of the key that signed it; empty if unsigned.
  public var signer: String
  /// Unix time at which it entered this state.
  public var sinceMilliseconds: UInt64
  public var residentBytes: UInt64
  /// Nil unless it is live, and from servers that do not tell it.
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

/// What a live version answers.
public struct VersionTrafficReport: Sendable, Equatable {
  /// Predict calls that reached it since it is live, and those that did not end in OK.
  public var requests: UInt64 = 0
  public var failed: UInt64 = 0
  public var rows: UInt64 = 0
  /// The same within the last ``windowMilliseconds``.
  public var recentRequests: UInt64 = 0
  public var recentFailed: UInt64 = 0
  public var recentRows: UInt64 = 0
  public var windowMilliseconds: UInt32 = 0
  /// Of the model's recent requests those of this version, in millionths.
  public var shareMillionths: UInt32 = 0
  /// Of the recent answers, from the request's last byte to its answer; 0 if there were none.
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

/// A file of the store that is no bundle of any model.
public struct StoreProblemReport: Sendable, Equatable {
  /// Below the store.
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
  /// It takes traffic.
  public var ready: Bool
  public var models: [ModelStatusReport]

  public init(live: Bool, ready: Bool, models: [ModelStatusReport]) {
    self.live = live
    self.ready = ready
    self.models = models
  }
}
