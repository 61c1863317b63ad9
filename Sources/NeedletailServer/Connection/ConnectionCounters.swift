internal import NeedletailMetrics
internal import NeedletailWire

/// The handles that connections count with. Shared by all loops; each adds to its own shard.
final class ConnectionCounters: Sendable {
  let open: Gauge
  let accepted: Counter
  let refused: Counter
  /// Of the listening sockets: out of descriptors or memory.
  let acceptFailures: Counter
  let receivedBytes: Counter
  let sentBytes: Counter
  let emptyFrame: Counter
  let tooLong: Counter
  /// A good frame whose message cannot be read.
  let undecodable: Counter
  /// The peer ended its stream within a frame.
  let torn: Counter
  /// The peer stopped, or trickled, within a frame.
  let stalled: Counter
  private let evictedIdle: Counter
  private let evictedStalledFrame: Counter
  private let evictedSlowReader: Counter
  private let evictedOutputBytesTotal: Counter
  private let evictedLingering: Counter
  private let evictedUnauthenticated: Counter

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
    func frameErrors(_ reason: String) -> Counter {
      metrics.counter(
        "needletail_frame_errors_total", help: "Frames that could not be read, by reason.",
        labels: [("reason", reason)])
    }
    emptyFrame = frameErrors(FrameError.emptyFrame.reason)
    tooLong = frameErrors(FrameError.tooLong(found: 0, limit: 0).reason)
    undecodable = frameErrors("undecodable")
    torn = frameErrors("torn")
    stalled = frameErrors("stalled")
    func evicted(_ reason: ConnectionStateMachine.CloseReason) -> Counter {
      metrics.counter(
        "needletail_connections_evicted_total", help: "Connections closed because of the peer's silence, by reason.",
        labels: [("reason", reason.rawValue)])
    }
    evictedIdle = evicted(.idle)
    evictedStalledFrame = evicted(.stalledFrame)
    evictedSlowReader = evicted(.slowReader)
    evictedOutputBytesTotal = evicted(.outputBytesTotal)
    evictedLingering = evicted(.lingering)
    evictedUnauthenticated = evicted(.unauthenticated)
  }

  func frameError(_ error: FrameError) -> Counter {
    switch error {
    case .emptyFrame: emptyFrame
    case .tooLong: tooLong
    }
  }

  func evicted(_ reason: ConnectionStateMachine.CloseReason) -> Counter {
    switch reason {
    case .idle: evictedIdle
    case .stalledFrame: evictedStalledFrame
    case .slowReader: evictedSlowReader
    case .outputBytesTotal: evictedOutputBytesTotal
    case .lingering: evictedLingering
    case .unauthenticated: evictedUnauthenticated
    }
  }
}
