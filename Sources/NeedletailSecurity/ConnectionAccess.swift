public import NeedletailCore
internal import Synchronization

/// Who one connection is, and what it may do. Pure: what was shown, the ring of keys and the time in,
/// decisions out. Confined to its connection's loop.
///
/// What a call needs to know stands in plain fields, so that the check of an allowed call is a few
/// comparisons: it allocates nothing, and follows no reference unless the key has limits.
public struct ConnectionAccess: ~Copyable {
  private enum Identity {
    /// Nothing was shown yet.
    case nobody
    case key(KeyDigest)
    case certificate([String])
  }

  /// Whether the server wants to know who calls.
  public let isRequired: Bool
  private var identity = Identity.nobody
  /// Of the ring that the fields below were made from.
  public private(set) var generation: UInt64 = 0
  private var grant: Grant?
  private var calls: AccessCalls
  private var reachesAllModels: Bool
  private var hasRates = false
  private var isFlightCounted = false
  /// The model that the last call was let through to, so that a connection which stays with one model
  /// compares names instead of patterns. Room for the longest name, for keys with patterns only.
  private var lastModel: UnsafeMutablePointer<UInt8>?
  private var lastModelBytes = 0
  private var callsInFlight = 0
  /// Attempts to authenticate that failed.
  private var failures = 0

  /// - Parameter isRequired: false on a server without a key file: everybody may do everything.
  public init(isRequired: Bool) {
    self.isRequired = isRequired
    calls = isRequired ? [] : .all
    reachesAllModels = !isRequired
  }

  deinit {
    if isFlightCounted { grant?.usage.inFlight.subtract(callsInFlight, ordering: .relaxed) }
    lastModel?.deallocate()
  }

  /// Whether it may call at all.
  public var isAuthenticated: Bool { !isRequired || grant != nil }

  /// Which models it may know of; nil: all.
  public var visibleModels: [NamePattern]? { reachesAllModels ? nil : grant?.models ?? [] }

  /// Too many wrong keys: the connection should end.
  public var isExhausted: Bool { failures >= Limits.authenticationFailuresMax }

  // MARK: who

  /// Takes the key that a client showed; it replaces what was shown before.
  /// - Returns: the key's name.
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

  /// Takes the names of a certificate that was verified. One without a grant may still show a key.
  public mutating func present(certificate names: [String], _ ring: KeyRing) {
    identity = .certificate(names)
    renew(ring)
  }

  /// Looks its grant up again, for the ring has changed.
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

  // MARK: what

  /// Whether a call about `model` is within the grant; nothing is charged. What refuses calls before they
  /// are decoded asks this first: how busy a model is, and that it exists, is not for strangers.
  public mutating func reaches(_ call: AccessCalls, model: UnsafeRawBufferPointer) -> Bool {
    guard calls.contains(call) else { return false }
    guard !reachesAllModels else { return true }
    do throws(AccessRefusal) {
      try checkModel(model)
      return true
    } catch {
      return false
    }
  }

  /// Lets a call through, and takes its share of the key's limits. Call ``settle()`` when it has ended.
  /// - Parameters:
  ///   - model: empty for calls about no model.
  ///   - rows: as declared; what a server refuses anyway is charged as `Limits.batchRowsMaxDefault`.
  ///   - ring: current; read only if ``generation`` is not that of the caller's.
  public mutating func admit(
    _ call: AccessCalls, model: UnsafeRawBufferPointer, rows: UInt64, _ ring: @autoclosure () -> KeyRing?, now: Instant
  ) throws(AccessRefusal) {
    guard calls.contains(call) else { throw refusal(of: call, ring()) }
    if !reachesAllModels, !model.isEmpty { try checkModel(model) }
    if hasRates { try charge(rows: rows, now: now) }
    callsInFlight += 1
  }

  /// A call that was let through has ended.
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

  private func charge(rows: UInt64, now: Instant) throws(AccessRefusal) {
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
      // There was room a moment ago; whoever took it meanwhile made the next one wait longer.
      _ = usage.rows.take(min(rows, UInt64(Limits.batchRowsMaxDefault)), perSecond: limit, now: now)
    }
  }

  // MARK: why not

  /// What a connection without a grant is told.
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

/// Why a call, or a key, was not let through.
public struct AccessRefusal: Error, Equatable, Sendable {
  /// The label of a counter.
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
  /// What the caller is told.
  public let error: ServingError

  init(_ reason: Reason, _ error: ServingError) {
    self.reason = reason
    self.error = error
  }
}
