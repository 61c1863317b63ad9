public import NeedletailCore
public import NeedletailEngine
public import NeedletailMetrics

/// Handles that a data path counts with, per model and version. They are looked up once, when the version goes live, so that
/// a batch touches neither a lock nor a dictionary.
public final class ModelCounters: Sendable {
  private let requestsByStatus: [Counter]
  public let rows: Counter
  /// Numbers in answers that were NaN or infinite.
  public let nonFinite: Counter
  /// Rows by their class; nil where there are none to tell apart.
  public let classes: ClassCounters?
  /// Rows of the batches this version computed.
  public let batchRows: Histogram
  /// Time from a request's first byte to its last.
  public let receiveDuration: Histogram
  /// Time from a request's last byte to the start of its computation.
  public let queueDuration: Histogram
  /// Time of the batch that a request was computed in, once per request.
  public let computeDuration: Histogram
  /// Time from a request's last byte to its answer: what a client would measure without the network.
  public let answerDuration: Histogram
  /// Time from the end of the computation until the answer was handed to the socket.
  public let sendDuration: Histogram

  /// Units of work that may wait for workers, as measured; of a model of tables, rows.
  public let queueLimit: Gauge
  /// Units of work that wait for workers; of a model of tables, rows.
  public let queueRows: Gauge

  static let requestDurationName = "needletail_request_duration_seconds"
  static let batchRowsBuckets: [Double] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096]

  /// - Parameter compiled: the version; nil: its classes are not counted.
  public init(
    model: ModelID, version: ModelVersion, compiled: CompiledModel? = nil, metrics: MetricsRegistry
  ) {
    let labels = [("model", model.name), ("version", version.description)]
    requestsByStatus = StatusCode.allCases.map { status in
      metrics.counter(
        "needletail_requests_total", help: "Predict calls, by how they ended.",
        labels: labels + [("status", status.description)])
    }
    rows = metrics.counter("needletail_rows_total", help: "Rows answered.", labels: labels)
    nonFinite = metrics.counter(
      "needletail_nan_outputs_total", help: "Numbers in answers that were NaN or infinite.", labels: labels)
    classes = compiled.flatMap { ClassCounters($0, labels: labels, metrics: metrics) }
    batchRows = metrics.histogram(
      "needletail_batch_rows", help: "Rows of the batches computed.", labels: labels,
      buckets: Self.batchRowsBuckets, unit: .items)
    func duration(_ phase: String) -> Histogram {
      metrics.histogram(
        Self.requestDurationName, help: "How long predict calls spent in each phase.",
        labels: labels + [("phase", phase)])
    }
    receiveDuration = duration("receive")
    queueDuration = duration("queue")
    computeDuration = duration("compute")
    sendDuration = duration("send")
    queueLimit = metrics.gauge(
      "needletail_queue_limit_rows", help: "Rows that may wait for workers: what they get through in the time allowed.",
      labels: labels)
    queueRows = metrics.gauge("needletail_queue_rows", help: "Rows that wait for workers.", labels: labels)
    answerDuration = metrics.histogram(
      "needletail_answer_duration_seconds",
      help: "From a predict call's last byte to its answer, of calls that ended OK.",
      labels: labels)
  }

  /// Calls that ended with `status`.
  public func requests(_ status: StatusCode) -> Counter { requestsByStatus[Int(status.rawValue)] }

  /// Calls that ended in anything but OK.
  public var requestsFailed: UInt64 { requestsByStatus.dropFirst().reduce(0) { $0 &+ $1.value } }
}

/// The counts of a version since it went live.
package struct VersionCounts: Sendable, Equatable {
  /// Calls that were answered, or that failed for a reason that may lie with the version.
  package var requests: UInt64 = 0
  package var failures: UInt64 = 0
  /// Those of the failures that no caller can cause, whatever it sends: what the guard judges by.
  package var faults: UInt64 = 0
  package var rows: UInt64 = 0
  /// Numbers in answers, and how many of them were NaN or infinite.
  package var numbers: UInt64 = 0
  package var nonFinite: UInt64 = 0
  /// Calls that were computed, and the time of the batches that they were computed in.
  package var computed: UInt64 = 0
  package var computeMicroseconds: Double = 0

  package init() {}

  /// - Complexity: one pass over the shards of each counter.
  package init(_ model: LiveModel) {
    let counters = model.counters
    faults = counters.requests(.internal).value
    // A client's mistake counts too: a version that no longer takes what its callers send fails like that.
    failures =
      counters.requests(.invalidArgument).value &+ counters.requests(.notFound).value
      &+ faults
    requests = counters.requests(.ok).value &+ failures
    rows = counters.rows.value
    let columns = model.compiled.plan.outputs.reduce(0) { $0 + ($1.kind == .number ? $1.columns : 0) }
    numbers = rows &* UInt64(columns)
    nonFinite = counters.nonFinite.value
    computed = counters.computeDuration.count
    computeMicroseconds = counters.computeDuration.sum * 1_000_000
  }

  /// Whether `later` cannot be a later reading of the same counters: one of them is smaller. A version that was let go
  /// and loaded again counts from 0.
  func isAhead(of later: VersionCounts) -> Bool {
    requests > later.requests || failures > later.failures || faults > later.faults || rows > later.rows
      || numbers > later.numbers || nonFinite > later.nonFinite || computed > later.computed
      || computeMicroseconds > later.computeMicroseconds
  }

  /// The counts between two readings.
  /// - Precondition: `b` is not ``isAhead(of:)`` `a`.
  static func - (a: VersionCounts, b: VersionCounts) -> VersionCounts {
    var difference = VersionCounts()
    difference.requests = a.requests &- b.requests
    difference.failures = a.failures &- b.failures
    difference.faults = a.faults &- b.faults
    difference.rows = a.rows &- b.rows
    difference.numbers = a.numbers &- b.numbers
    difference.nonFinite = a.nonFinite &- b.nonFinite
    difference.computed = a.computed &- b.computed
    difference.computeMicroseconds = a.computeMicroseconds - b.computeMicroseconds
    return difference
  }

  /// Calls without those that failed by a mistake of the caller, who must neither add to the faults nor dilute them.
  var judged: UInt64 { requests &- (failures &- faults) }
  var errorRate: Double { judged == 0 ? 0 : Double(faults) / Double(judged) }
  var nanRate: Double { numbers == 0 ? 0 : Double(nonFinite) / Double(numbers) }
  package var meanMicroseconds: Double { computed == 0 ? 0 : computeMicroseconds / Double(computed) }
}
