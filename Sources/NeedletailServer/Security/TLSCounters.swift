internal import NeedletailMetrics

/// The handles that handshakes count with. Shared by all loops.
final class TLSCounters: Sendable {
  private let failures: [Counter]

  init(metrics: MetricsRegistry) {
    failures = TLSFailure.allCases.map { failure in
      metrics.counter(
        "needletail_tls_handshake_failures_total", help: "TLS handshakes that failed, by reason.",
        labels: [("reason", failure.rawValue)])
    }
  }

  func failed(_ failure: TLSFailure) -> Counter {
    guard let index = TLSFailure.allCases.firstIndex(of: failure) else { preconditionFailure("\(failure) is no case") }
    return failures[index]
  }
}
