internal import NeedletailCore
public import NeedletailMetrics
internal import NeedletailModels

/// The handles that batchers count with beside those of each version. Shared by all loops.
public final class ServingCounters: Sendable {
  private let unresolvedByStatus: [Counter]
  /// Calls bound and not yet answered.
  public let inFlight: Gauge

  public init(metrics: MetricsRegistry) {
    // No model can have this name, and whatever a client invents must not become a series.
    unresolvedByStatus = StatusCode.allCases.map { status in
      metrics.counter(
        "needletail_requests_total", help: "Predict calls, by how they ended.",
        labels: [("model", "_unknown"), ("version", ""), ("status", status.description)])
    }
    inFlight = metrics.gauge("needletail_requests_in_flight", help: "Predict calls accepted and not yet answered.")
  }

  /// Calls that ended before it was clear which version they meant.
  func unresolved(_ status: StatusCode) -> Counter { unresolvedByStatus[Int(status.rawValue)] }
}
