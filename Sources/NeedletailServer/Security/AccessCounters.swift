internal import NeedletailMetrics
internal import NeedletailSecurity

/// The handles that authentication and authorisation count with. Shared by all loops.
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
