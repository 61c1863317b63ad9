public import NeedletailCore
public import NeedletailMetrics

/// The handles a data path counts with, per model and version: looked up once, when the version goes
/// live, so that a batch touches neither a lock nor a dictionary.
public final class ModelCounters: Sendable {
  private let requestsByStatus: [Counter]
  public let rows: Counter
  /// Numbers in answers that were none.
  public let nonFinite: Counter
  /// Rows of the batches this version computed.
  public let batchRows: Histogram
  /// From a request's first byte to its last.
  public let receiveDuration: Histogram
  /// From a request's last byte to the start of its computation.
  public let queueDuration: Histogram
  /// Of one request's share: the batch it was computed in.
  public let computeDuration: Histogram
  /// From a request's last byte to its answer: what a client would see without the network.
  public let answerDuration: Histogram
  /// From the end of the computation until the answer was handed to the socket.
  public let sendDuration: Histogram

  static let requestDurationName = "needletail_request_duration_seconds"
  static let batchRowsBuckets: [Double] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096]

  public init(model: ModelID, version: ModelVersion, metrics: MetricsRegistry) {
    let labels = [("model", model.name), ("version", version.description)]
    requestsByStatus = StatusCode.allCases.map { status in
      metrics.counter(
        "needletail_requests_total", help: "Predict calls, by how they ended.",
        labels: labels + [("status", status.description)])
    }
    rows = metrics.counter("needletail_rows_total", help: "Rows answered.", labels: labels)
    nonFinite = metrics.counter(
      "needletail_nan_outputs_total", help: "Numbers in answers that were NaN or infinite.", labels: labels)
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
