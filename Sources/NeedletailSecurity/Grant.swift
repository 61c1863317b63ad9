public import NeedletailCore
internal import Synchronization

/// What the holder of one key, or of one certificate, may do. Immutable but for what was used.
public final class Grant: Sendable {
  /// How the holder shows who it is.
  public enum Credential: Sendable {
    case key(KeyDigest)
    /// A name in the certificate that the server's client CA issued.
    case certificate(subject: String)
  }

  public enum State: String, Sendable, CaseIterable {
    case active
    /// Known, and told so.
    case revoked
  }

  /// Over all connections together; nil: unlimited.
  public struct Bounds: Hashable, Sendable {
    public var requestsPerSecond: Int?
    public var rowsPerSecond: Int?
    public var inFlightMax: Int?

    public init(requestsPerSecond: Int? = nil, rowsPerSecond: Int? = nil, inFlightMax: Int? = nil) {
      self.requestsPerSecond = requestsPerSecond
      self.rowsPerSecond = rowsPerSecond
      self.inFlightMax = inFlightMax
    }

    var areNone: Bool { self == Bounds() }
  }

  /// What was used of the bounds. Survives a reload: a new file is no fresh start.
  final class Usage: Sendable {
    let requests = RateLimit()
    let rows = RateLimit()
    let inFlight = Atomic(0)
  }

  public let name: String
  public let credential: Credential
  public let models: [NamePattern]
  public let calls: AccessCalls
  public let state: State
  public let bounds: Bounds
  let usage: Usage

  public convenience init(
    name: String, credential: Credential, models: [NamePattern] = [NamePattern("*")], calls: AccessCalls = .reading,
    state: State = .active, bounds: Bounds = Bounds()
  ) {
    self.init(
      name: name, credential: credential, models: models, calls: calls, state: state, bounds: bounds, usage: Usage())
  }

  private init(
    name: String, credential: Credential, models: [NamePattern], calls: AccessCalls, state: State, bounds: Bounds,
    usage: Usage
  ) {
    self.name = name
    self.credential = credential
    self.models = models
    self.calls = calls
    self.state = state
    self.bounds = bounds
    self.usage = usage
  }

  /// The same with the usage that another one has gathered.
  func continuing(_ previous: Grant?) -> Grant {
    guard let previous else { return self }
    return Grant(
      name: name, credential: credential, models: models, calls: calls, state: state, bounds: bounds,
      usage: previous.usage)
  }

  /// Whether it reaches every model.
  public var reachesAllModels: Bool { models.contains(where: \.isAny) }

  /// Allocates nothing.
  public func reaches(_ model: UnsafeRawBufferPointer) -> Bool {
    for index in models.indices where models[index].matches(model) { return true }
    return false
  }

  /// Calls in flight that are counted against ``Bounds/inFlightMax``.
  public var inFlight: Int { usage.inFlight.load(ordering: .relaxed) }

  /// `key "checkout"`, for messages.
  var title: String {
    switch credential {
    case .key: "key \(name.quotedForMessage)"
    case .certificate: "certificate \(name.quotedForMessage)"
    }
  }
}
