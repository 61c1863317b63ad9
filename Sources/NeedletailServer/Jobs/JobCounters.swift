internal import NeedletailMetrics

/// Metrics of jobs. Any thread.
final class JobCounters: Sendable {
  /// Why a job was not taken; the value of the metric label `reason`.
  enum Refusal: String, CaseIterable {
    /// As many jobs as there may be, or as one caller may have.
    case count
    /// No room for its request.
    case memory
    /// Its request is too long, or cannot be read.
    case request
    /// The server stops.
    case stopping
    /// The store of jobs that servers share does not answer.
    case store
  }

  private let endedByState: [Counter]
  private let refusedByReason: [Counter]
  let rows: Counter

  init(metrics: MetricsRegistry) {
    endedByState = JobState.allCases.map { state in
      metrics.counter(
        "needletail_jobs_total", help: "Jobs that came to a state; done ones expire later.",
        labels: [("state", state.rawValue)])
    }
    refusedByReason = Refusal.allCases.map { reason in
      metrics.counter(
        "needletail_jobs_refused_total", help: "Jobs that were not taken, by reason.",
        labels: [("reason", reason.rawValue)])
    }
    rows = metrics.counter("needletail_job_rows_total", help: "Rows that jobs computed.")
  }

  /// Jobs that came to a state.
  func came(to state: JobState) -> Counter {
    guard let index = JobState.allCases.firstIndex(of: state) else { preconditionFailure("\(state) is no case") }
    return endedByState[index]
  }

  func refused(_ reason: Refusal) -> Counter {
    guard let index = Refusal.allCases.firstIndex(of: reason) else { preconditionFailure("\(reason) is no case") }
    return refusedByReason[index]
  }
}
