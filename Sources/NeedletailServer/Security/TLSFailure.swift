internal import NeedletailMetrics
internal import NeedletailTLS

/// Why a handshake failed: the label of a counter.
enum TLSFailure: String, CaseIterable {
  /// The client showed no certificate, one that the client CA did not issue, or one that is not valid now.
  case clientCertificate = "client_certificate"
  /// The client refused the server's certificate.
  case serverCertificate = "server_certificate"
  /// The client does not speak TLS, or no version and cipher that the server accepts.
  case protocolMismatch = "protocol"
  /// The client closed the connection.
  case closed
  case timeout
  case other

  init(_ error: TLSError) {
    self =
      switch error.reason {
      case .noCertificate, .untrustedCertificate, .wrongName: .clientCertificate
      case .alert(TLSError.alertProtocolVersion), .protocolMismatch: .protocolMismatch
      // Clients end a handshake for hardly another reason than the server's certificate.
      case .alert: .serverCertificate
      case .closed: .closed
      case .other: .other
      }
  }
}

/// The counters of failed handshakes. Shared by all loops.
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
