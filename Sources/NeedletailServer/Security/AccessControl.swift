internal import Logging
internal import NeedletailCore
internal import NeedletailMetrics
internal import NeedletailSecurity
internal import NeedletailWire

/// The keys that one loop's calls are checked against, and the metrics of these checks. Confined to its loop.
final class AccessControl {
  /// Nil where any client may make any call.
  private(set) var ring: KeyRing?
  /// Generation of `ring`; 0 without one.
  private var generation: UInt64
  private let counters: AccessCounters
  private let logger: Logger
  private let shard: Int

  init(_ ring: KeyRing?, shard: Int, shared: SharedServices) {
    self.ring = ring
    generation = ring?.generation ?? 0
    counters = shared.accessCounters
    logger = shared.logger
    self.shard = shard
  }

  var isKeyRequired: Bool { ring != nil }

  /// Checks calls against other keys from now on.
  func replace(_ ring: KeyRing) {
    self.ring = ring
    generation = ring.generation
  }

  /// Error for a call that the client's grant does not cover; nil: it does. For a covered call this compares a few
  /// fields.
  /// - Parameter model: empty for calls about no model.
  func denial(
    of call: AccessCalls, model: UnsafeRawBufferPointer = .init(start: nil, count: 0), _ access: inout ConnectionAccess
  ) -> ServingError? {
    // Keys may have changed since the last call.
    if access.generation != generation, let ring { access.renew(ring) }
    do throws(AccessRefusal) {
      try access.check(call, model: model, ring)
      return nil
    } catch {
      return counted(error)
    }
  }

  /// Charges a call to the limits of the client's key.
  /// - Parameter rows: as declared by the call.
  /// - Returns: the error for a call beyond a limit; nil: the call may go on, and ``ConnectionAccess/settle()`` must
  ///   follow when it has ended.
  func charge(rows: UInt64 = 0, to access: inout ConnectionAccess, now: Instant) -> ServingError? {
    do throws(AccessRefusal) {
      try access.charge(rows: rows, now: now)
      return nil
    } catch {
      return counted(error)
    }
  }

  private func counted(_ refusal: AccessRefusal) -> ServingError {
    counters.refusedCall(refusal.reason).add(shard: shard)
    return refusal.error
  }

  /// Takes the key that a client showed.
  /// - Returns: the key's name.
  /// - Throws: the error for the client.
  func authenticate(_ key: UnsafeRawBufferPointer, _ access: inout ConnectionAccess) throws(ServingError) -> String {
    guard let ring else { throw .unimplemented("authenticate: this server asks for no keys") }
    do throws(AccessRefusal) {
      let name = try access.authenticate(key, ring)
      counters.authenticated.add(shard: shard)
      return name
    } catch {
      counters.rejectedKey(error.reason).add(shard: shard)
      logger.debug("key refused", metadata: ["reason": "\(error.reason.rawValue)"])
      throw error.error
    }
  }

  /// Takes the names of a client certificate that the client CA issued.
  /// - Returns: whether one of them is granted access.
  func authenticate(certificate names: [String], _ access: inout ConnectionAccess) -> Bool {
    guard let ring else { return false }
    access.present(certificate: names, ring)
    guard access.isAuthenticated else { return false }
    counters.authenticated.add(shard: shard)
    return true
  }
}

/// Metrics of authentication and authorisation. Shared by all loops.
final class AccessCounters: Sendable {
  let authenticated: Counter
  private let rejectedKeys: [Counter]
  private let refusedCalls: [Counter]

  init(metrics: MetricsRegistry) {
    func authentications(_ outcome: String) -> Counter {
      metrics.counter(
        "needletail_authentications_total", help: "Keys and certificates that were shown, by what came of it.",
        labels: [("outcome", outcome)])
    }
    authenticated = authentications("accepted")
    rejectedKeys = AccessRefusal.Reason.allCases.map { authentications($0.rawValue) }
    refusedCalls = AccessRefusal.Reason.allCases.map { reason in
      metrics.counter(
        "needletail_calls_refused_total", help: "Calls that their key does not allow, by reason.",
        labels: [("reason", reason.rawValue)])
    }
  }

  func rejectedKey(_ reason: AccessRefusal.Reason) -> Counter { rejectedKeys[reason.index] }
  func refusedCall(_ reason: AccessRefusal.Reason) -> Counter { refusedCalls[reason.index] }
}

extension AccessRefusal.Reason {
  /// Position among all reasons.
  fileprivate var index: Int {
    guard let index = Self.allCases.firstIndex(of: self) else { preconditionFailure("\(self) is no case") }
    return index
  }
}

extension ServingError {
  /// The error without the suggestion of a model that the caller may not know of.
  /// - Parameter models: models that the caller may know of; nil: all.
  func showing(_ models: [NamePattern]?) -> ServingError {
    guard let suggestedModel, let models, !models.contains(where: { $0.matches(suggestedModel) }) else { return self }
    return withoutSuggestion
  }
}
