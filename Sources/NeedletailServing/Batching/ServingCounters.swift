internal import NeedletailCore
public import NeedletailMetrics
internal import NeedletailModels

/// Metrics of batchers beside those of each version. Shared by all loops.
public final class ServingCounters: Sendable {
  private let unresolvedByStatus: [Counter]
  private let shedByReason: [Counter]
  /// Calls bound and not yet answered.
  public let inFlight: Gauge

  public init(metrics: MetricsRegistry) {
    // No model can have this name, and a name that a client invents must not become a series.
    unresolvedByStatus = StatusCode.allCases.map { status in
      metrics.counter(
        "needletail_requests_total", help: "Predict calls, by how they ended.",
        labels: [("model", "_unknown"), ("version", ""), ("status", status.description)])
    }
    shedByReason = ShedReason.allCases.map { reason in
      metrics.counter(
        "needletail_calls_shed_total", help: "Predict calls rejected or dropped because of too much work, by reason.",
        labels: [("reason", reason.rawValue)])
    }
    inFlight = metrics.gauge("needletail_requests_in_flight", help: "Predict calls accepted and not yet answered.")
  }

  /// Calls that ended before it was clear which version they meant.
  func unresolved(_ status: StatusCode) -> Counter { unresolvedByStatus[Int(status.rawValue)] }

  /// Calls that were rejected because there was too much to do.
  func shed(_ reason: ShedReason) -> Counter {
    switch reason {
    case .tick: shedByReason[0]
    case .queue: shedByReason[1]
    case .memory: shedByReason[2]
    }
  }
}

/// Answers of one batch on their way to sockets.
struct UnsentAnswers {
  var counters: ModelCounters
  /// End of their computation.
  var computed: Instant
  var calls: Int
}
