public import NeedletailCore
internal import Synchronization

/// A set of calls, as a key file names them.
public struct AccessCalls: OptionSet, Hashable, Sendable {
  public let rawValue: UInt8

  public init(rawValue: UInt8) { self.rawValue = rawValue }

  public static let predict = AccessCalls(rawValue: 1 << 0)
  public static let describe = AccessCalls(rawValue: 1 << 1)
  public static let list = AccessCalls(rawValue: 1 << 2)
  public static let health = AccessCalls(rawValue: 1 << 3)
  public static let metrics = AccessCalls(rawValue: 1 << 4)
  /// The rollout call, which changes the version that serves.
  public static let rollout = AccessCalls(rawValue: 1 << 5)
  /// The feedback call, which changes how good a model is thought to be.
  public static let feedback = AccessCalls(rawValue: 1 << 6)

  public static let all: AccessCalls = [.predict, .describe, .list, .health, .metrics, .rollout, .feedback]
  /// Calls that a key may make if its entry names none: all that change nothing.
  public static let reading = all.subtracting([.rollout, .feedback])

  /// Every call with its name, in the order in which messages list them.
  public static let names: [(name: String, call: AccessCalls)] = [
    ("predict", .predict), ("describe", .describe), ("list", .list), ("health", .health), ("metrics", .metrics),
    ("rollout", .rollout), ("feedback", .feedback),
  ]

  /// Finds a call by its name; nil: there is no such call.
  public init?(name: String) {
    guard let known = Self.names.first(where: { $0.name == name }) else { return nil }
    self = known.call
  }

  /// Names of the calls in the set.
  public var words: [String] { Self.names.filter { contains($0.call) }.map(\.name) }
}

/// The identity and the permissions of one connection: a state machine without I/O, from credentials, the ring of
/// keys and the time to decisions. Confined to its connection's loop.
///
/// Everything that the check of a call needs is in plain fields, so that an allowed call costs a few comparisons. It
/// allocates nothing, and follows no reference unless the key has limits.
public struct ConnectionAccess: ~Copyable {
  private enum Identity {
    /// No credential was presented yet.
    case nobody
    case key(KeyDigest)
    case certificate([String])
  }

  /// Whether the server requires credentials.
  public let isRequired: Bool
  private var identity = Identity.nobody
  /// Generation of the ring from which the fields below were computed.
  public private(set) var generation: UInt64 = 0
  private var grant: Grant?
  private var calls: AccessCalls
  private var reachesAllModels: Bool
  private var hasRates = false
  private var isFlightCounted = false
  /// Name of the model of the last admitted call, so that a connection which stays with one model compares names
  /// instead of patterns. Allocated for the longest name, and only for keys with patterns.
  private var lastModel: UnsafeMutablePointer<UInt8>?
  private var lastModelBytes = 0
  private var callsInFlight = 0
  /// Number of failed attempts to authenticate.
  private var failures = 0

  /// - Parameter isRequired: Whether credentials are required; false: every call is allowed.
  public init(isRequired: Bool) {
    self.isRequired = isRequired
    calls = isRequired ? [] : .all
    reachesAllModels = !isRequired
  }

  deinit {
    if isFlightCounted { grant?.usage.inFlight.subtract(callsInFlight, ordering: .relaxed) }
    lastModel?.deallocate()
  }

  /// Whether the connection may make calls at all.
  public var isAuthenticated: Bool { !isRequired || grant != nil }

  /// The key or certificate by which the connection may make calls, such as `key "checkout"`; nil: there is none.
  public var principal: String? { grant?.title }

  /// Models whose existence the connection may learn of; nil: all.
  public var visibleModels: [NamePattern]? { reachesAllModels ? nil : grant?.models ?? [] }

  /// Whether so many wrong keys were presented that the connection should be closed.
  public var isExhausted: Bool { failures >= Limits.authenticationFailuresMax }

  // MARK: identity

  /// Accepts the key that a client presents; it replaces any earlier credential.
  /// - Returns: Name of the key.
  public mutating func authenticate(
    _ key: UnsafeRawBufferPointer, _ ring: KeyRing
  ) throws(AccessRefusal) -> String {
    let shown = Identity.key(KeyDigest(of: UnsafeRawBufferPointer(rebasing: key.prefix(Limits.apiKeyBytesMax + 1))))
    guard !key.isEmpty else {
      failures += 1
      throw AccessRefusal(.unauthenticated, .unauthenticated("api_key: expected a key, found none"))
    }
    identity = shown
    renew(ring)
    guard let grant else {
      failures += 1
      throw absence(in: ring)
    }
    failures = 0
    return grant.name
  }

  /// Accepts the names of a verified certificate. A client whose certificate has no grant may still present a key.
  public mutating func present(certificate names: [String], _ ring: KeyRing) {
    identity = .certificate(names)
    renew(ring)
  }

  /// Looks up the grant again after the ring has changed.
  public mutating func renew(_ ring: KeyRing) {
    generation = ring.generation
    let found = find(in: ring)
    let new = found?.state == .active ? found : nil
    if isFlightCounted { grant?.usage.inFlight.subtract(callsInFlight, ordering: .relaxed) }
    grant = new
    calls = new?.calls ?? []
    reachesAllModels = new?.reachesAllModels ?? false
    hasRates = new.map { !$0.bounds.areNone } ?? false
    isFlightCounted = new?.bounds.inFlightMax != nil
    if isFlightCounted { new?.usage.inFlight.add(callsInFlight, ordering: .relaxed) }
    lastModelBytes = 0
    if !reachesAllModels, lastModel == nil { lastModel = .allocate(capacity: Limits.modelNameBytesMax) }
  }

  private func find(in ring: KeyRing) -> Grant? {
    switch identity {
    case .nobody: nil
    case .key(let digest): ring.grant(of: digest)
    case .certificate(let names): ring.grant(ofCertificate: names)
    }
  }

  // MARK: permissions

  /// Checks that the grant covers a call; nothing is charged. Admission asks this before anything else, since callers
  /// without the grant must not learn that a model exists or how busy it is.
  /// - Parameters:
  ///   - call: The call; of several, the grant must cover one.
  ///   - model: UTF-8 name of the model; empty for calls about no model.
  ///   - ring: The current ring; read only if its generation differs from ``generation``.
  /// - Throws: The refusal, naming what the key may do.
  public mutating func check(
    _ call: AccessCalls, model: UnsafeRawBufferPointer, _ ring: @autoclosure () -> KeyRing?
  ) throws(AccessRefusal) {
    guard !calls.isDisjoint(with: call) else { throw refusal(of: call, ring()) }
    if !reachesAllModels, !model.isEmpty { try checkModel(model) }
  }

  /// Charges a call to the limits of the key. Call ``settle()`` when the call has ended.
  /// - Parameter rows: Number of rows that the call declares; more than a server accepts is charged as
  ///   `Limits.batchRowsMaxDefault`.
  /// - Throws: The refusal, naming the limit and the time after which the call may be tried again.
  public mutating func charge(rows: UInt64, now: Instant) throws(AccessRefusal) {
    if hasRates { try chargeLimits(rows: rows, now: now) }
    callsInFlight += 1
  }

  /// Notes a call that no limit applies to, such as the showing of a wrong key whose answer is still to come. Call
  /// ``settle()`` when it has ended.
  public mutating func noteUnlimited() {
    callsInFlight += 1
    if isFlightCounted { grant?.usage.inFlight.add(1, ordering: .relaxed) }
  }

  /// Checks and charges a call: ``check(_:model:_:)`` and ``charge(rows:now:)`` in one.
  public mutating func admit(
    _ call: AccessCalls, model: UnsafeRawBufferPointer, rows: UInt64, _ ring: @autoclosure () -> KeyRing?, now: Instant
  ) throws(AccessRefusal) {
    try check(call, model: model, ring())
    try charge(rows: rows, now: now)
  }

  /// Notes that an admitted call has ended.
  public mutating func settle() {
    callsInFlight -= 1
    if isFlightCounted { grant?.usage.inFlight.subtract(1, ordering: .relaxed) }
  }

  private mutating func checkModel(_ model: UnsafeRawBufferPointer) throws(AccessRefusal) {
    if isLastModel(model) { return }
    guard let grant, grant.reaches(model) else { throw modelRefusal(model) }
    guard let lastModel, model.count <= Limits.modelNameBytesMax else { return }
    for index in 0..<model.count { lastModel[index] = model[index] }
    lastModelBytes = model.count
  }

  private func isLastModel(_ model: UnsafeRawBufferPointer) -> Bool {
    guard let lastModel, lastModelBytes == model.count else { return false }
    for index in 0..<model.count where lastModel[index] != model[index] { return false }
    return true
  }

  private func chargeLimits(rows: UInt64, now: Instant) throws(AccessRefusal) {
    guard let grant else { return }
    let bounds = grant.bounds
    let usage = grant.usage
    if bounds.rowsPerSecond != nil, let wait = usage.rows.microsecondsUntilRoom(now: now) {
      throw overLimit(.rowsPerSecond, "rows a second", bounds.rowsPerSecond, wait)
    }
    if let limit = bounds.inFlightMax, usage.inFlight.add(1, ordering: .relaxed).newValue > limit {
      usage.inFlight.subtract(1, ordering: .relaxed)
      throw overLimit(.inFlight, "calls in flight", limit, Limits.controlRetryMicroseconds)
    }
    if let limit = bounds.requestsPerSecond, let wait = usage.requests.take(perSecond: limit, now: now) {
      if isFlightCounted { usage.inFlight.subtract(1, ordering: .relaxed) }
      throw overLimit(.requestsPerSecond, "requests a second", limit, wait)
    }
    if let limit = bounds.rowsPerSecond {
      // The limit allowed this a moment ago. If another thread has used it up since, a later call waits longer.
      _ = usage.rows.take(min(rows, UInt64(Limits.batchRowsMaxDefault)), perSecond: limit, now: now)
    }
  }

  // MARK: refusals

  /// The refusal for a connection without a grant.
  public func absence(in ring: KeyRing?) -> AccessRefusal {
    switch identity {
    case .nobody:
      return AccessRefusal(
        .unauthenticated, .unauthenticated("authenticate: expected an API key before any other call, found none"))
    case .key:
      guard let ring, let known = find(in: ring) else {
        return AccessRefusal(
          .unknownKey, .unauthenticated("api_key: expected a key that this server knows, found another"))
      }
      return AccessRefusal(.revoked, .unauthenticated("api_key: \(known.title) is revoked"))
    case .certificate(let names):
      guard let ring, let known = find(in: ring) else {
        let name = names.first.map(\.quotedForMessage) ?? "none"
        return AccessRefusal(
          .unauthenticated,
          .unauthenticated("authenticate: expected an API key or a certificate with a known name, found name \(name)"))
      }
      return AccessRefusal(.revoked, .unauthenticated("certificate: \(known.title) is revoked"))
    }
  }

  private func refusal(of call: AccessCalls, _ ring: KeyRing?) -> AccessRefusal {
    guard let grant else { return absence(in: ring) }
    let wanted = call.words.first ?? "call"
    let allowed = grant.calls.words.joined(separator: ", ")
    return AccessRefusal(
      .call, .permissionDenied("\(grant.title) may not \(wanted): expected one of \(allowed)"))
  }

  private func modelRefusal(_ model: UnsafeRawBufferPointer) -> AccessRefusal {
    let name = String(decoding: model.prefix(Limits.modelNameBytesMax), as: UTF8.self).quotedForMessage
    return AccessRefusal(.model, .permissionDenied("\(grant?.title ?? "this connection") may not use model \(name)"))
  }

  private func overLimit(
    _ reason: AccessRefusal.Reason, _ what: String, _ limit: Int?, _ wait: UInt32
  ) -> AccessRefusal {
    AccessRefusal(
      reason,
      ServingError(
        .overloaded, "\(grant?.title ?? "key"): expected at most \(limit ?? 0) \(what), found more",
        retryAfterMicroseconds: wait))
  }
}

/// The reason why a call or a key was refused.
public struct AccessRefusal: Error, Equatable, Sendable {
  /// Label of the counter for this reason.
  public enum Reason: String, Sendable, CaseIterable {
    case unauthenticated
    case unknownKey = "unknown_key"
    case revoked
    case call
    case model
    case requestsPerSecond = "requests_per_second"
    case rowsPerSecond = "rows_per_second"
    case inFlight = "in_flight"
  }

  public let reason: Reason
  /// The error that the caller gets.
  public let error: ServingError

  init(_ reason: Reason, _ error: ServingError) {
    self.reason = reason
    self.error = error
  }
}
