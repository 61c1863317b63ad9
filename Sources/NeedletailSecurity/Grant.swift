public import NeedletailCore
internal import Synchronization

/// The permissions of the holder of one key or certificate. Immutable except for its usage.
public final class Grant: Sendable {
  /// The proof of identity that the holder presents.
  public enum Credential: Sendable {
    case key(KeyDigest)
    /// A name in the certificate that the server's client CA issued.
    case certificate(subject: String)
  }

  public enum State: String, Sendable, CaseIterable {
    case active
    /// The key is known, and its holder is told that it was revoked.
    case revoked
  }

  /// Limits over all connections of the holder together; nil: unlimited.
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

  /// Usage of the limits. It is carried over to the ring of a reloaded file.
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

  /// Returns this grant with the usage of another one.
  func continuing(_ previous: Grant?) -> Grant {
    guard let previous else { return self }
    return Grant(
      name: name, credential: credential, models: models, calls: calls, state: state, bounds: bounds,
      usage: previous.usage)
  }

  /// Whether the grant covers every model.
  public var reachesAllModels: Bool { models.contains(where: \.isAny) }

  /// Whether the grant covers a model, given the UTF-8 bytes of its name. Allocates nothing.
  public func reaches(_ model: UnsafeRawBufferPointer) -> Bool {
    for index in models.indices where models[index].matches(model) { return true }
    return false
  }

  /// Number of calls in flight that count against ``Bounds/inFlightMax``.
  public var inFlight: Int { usage.inFlight.load(ordering: .relaxed) }

  /// Name of the grant in messages, such as `key "checkout"`.
  var title: String {
    switch credential {
    case .key: "key \(name.quotedForMessage)"
    case .certificate: "certificate \(name.quotedForMessage)"
    }
  }
}
