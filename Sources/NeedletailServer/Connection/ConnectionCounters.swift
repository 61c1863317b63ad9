internal import NeedletailMetrics

/// Metrics of connections. Shared by all loops; each adds to its own shard.
final class ConnectionCounters: Sendable {
  let open: Gauge
  let accepted: Counter
  let refused: Counter
  /// Failures of listening sockets: no descriptors or no memory.
  let acceptFailures: Counter
  let receivedBytes: Counter
  let sentBytes: Counter
  /// Streams that the peer ended within a call.
  let torn: Counter
  /// Peers that stopped, or trickled, within a call.
  let stalled: Counter
  private let frameErrors: [Counter]
  private let evictions: [Counter]

  init(metrics: MetricsRegistry) {
    open = metrics.gauge("needletail_connections", help: "Open connections.")
    accepted = metrics.counter("needletail_connections_total", help: "Connections accepted.")
    refused = metrics.counter(
      "needletail_connections_refused_total", help: "Connections closed at once because there were too many.")
    acceptFailures = metrics.counter(
      "needletail_accept_failures_total",
      help: "Attempts to accept a connection that failed, mostly for want of descriptors.")
    receivedBytes = metrics.counter("needletail_received_bytes_total", help: "Bytes received from clients.")
    sentBytes = metrics.counter("needletail_sent_bytes_total", help: "Bytes of answers handed to sockets.")
    func frameError(_ reason: String) -> Counter {
      metrics.counter(
        "needletail_frame_errors_total", help: "Frames that could not be read, by reason.",
        labels: [("reason", reason)])
    }
    frameErrors = CodecFailure.Reason.allCases.map { frameError($0.rawValue) }
    torn = frameError("torn")
    stalled = frameError("stalled")
    evictions = ConnectionStateMachine.CloseReason.allCases.map { reason in
      metrics.counter(
        "needletail_connections_evicted_total", help: "Connections closed because of the peer's silence, by reason.",
        labels: [("reason", reason.rawValue)])
    }
  }

  /// Calls that cannot be read; of `undecodable` ones the connection survives.
  func frameError(_ reason: CodecFailure.Reason) -> Counter {
    switch reason {
    case .emptyFrame: frameErrors[0]
    case .tooLong: frameErrors[1]
    case .undecodable: frameErrors[2]
    }
  }

  func evicted(_ reason: ConnectionStateMachine.CloseReason) -> Counter {
    switch reason {
    case .idle: evictions[0]
    case .stalledFrame: evictions[1]
    case .slowReader: evictions[2]
    case .outputBytesTotal: evictions[3]
    case .lingering: evictions[4]
    case .unauthenticated: evictions[5]
    }
  }
}
