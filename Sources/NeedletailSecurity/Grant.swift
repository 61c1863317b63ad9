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

/// A limit of a number a second, with bursts of up to one second's worth. Any thread may take from it.
///
/// This is the generic cell rate algorithm (ITU-T I.371). One point in time says until when everything taken so far
/// is paid for. A call is admitted while that point lies less than a burst ahead, and moves it by its own price. A
/// large call is admitted too and later ones wait until it is paid for, so the rate holds over any time longer than a
/// burst.
public final class RateLimit: Sendable {
  private static let burstNanoseconds = UInt64(Limits.keyBurstSeconds) * 1_000_000_000

  private let paidUntil = Atomic<UInt64>(0)

  public init() {}

  /// - Returns: Time until something can be taken; nil: now.
  public func microsecondsUntilRoom(now: Instant) -> UInt32? {
    Self.wait(paidUntil.load(ordering: .relaxed), now)
  }

  /// Takes `amount` if the limit allows it now.
  /// - Returns: Time until it can be taken; nil: it was taken.
  public func take(_ amount: UInt64 = 1, perSecond rate: Int, now: Instant) -> UInt32? {
    var seen = paidUntil.load(ordering: .relaxed)
    while true {
      if let wait = Self.wait(seen, now) { return wait }
      let next = max(seen, now.nanoseconds) + Self.price(amount, rate)
      let (taken, found) = paidUntil.compareExchange(expected: seen, desired: next, ordering: .relaxed)
      if taken { return nil }
      seen = found
    }
  }

  /// Price of `amount` in nanoseconds, rounded up; at most an hour, so that no sum overflows.
  private static func price(_ amount: UInt64, _ rate: Int) -> UInt64 {
    let rate = UInt64(rate)
    let (product, overflow) = amount.multipliedReportingOverflow(by: 1_000_000_000)
    return min(overflow ? .max : product / rate + (product % rate == 0 ? 0 : 1), 3_600_000_000_000)
  }

  private static func wait(_ paidUntil: UInt64, _ now: Instant) -> UInt32? {
    guard paidUntil > now.nanoseconds, paidUntil - now.nanoseconds >= burstNanoseconds else { return nil }
    return UInt32(clamping: (paidUntil - now.nanoseconds - burstNanoseconds) / 1000 + 1)
  }
}
