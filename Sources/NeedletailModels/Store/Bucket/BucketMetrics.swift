internal import NeedletailMetrics
internal import NeedletailObjectStore

/// Counts what a server asks of a bucket, and how it fares.
struct BucketMetrics: BucketObserver {
  let reachable: Gauge
  let listed: Gauge
  private let metrics: MetricsRegistry

  private static let requests = "needletail_store_requests_total"
  private static let requestsHelp = "Requests to the object store by operation and outcome, each attempt by itself."

  init(_ metrics: MetricsRegistry) {
    self.metrics = metrics
    reachable = metrics.gauge(
      "needletail_store_reachable", help: "1 while the object store can be listed, else 0.")
    listed = metrics.gauge(
      "needletail_store_listed_timestamp_seconds", help: "Unix time of the last whole listing of the object store.")
    for operation in BucketOperation.allCases {
      _ = counter(operation, "ok")
      _ = retries(operation)
    }
    for outcome in BundleCache.Outcome.allCases { _ = cacheReads(outcome) }
  }

  func requested(_ operation: BucketOperation, failed reason: ObjectStoreError.Reason?) {
    counter(operation, reason?.rawValue ?? "ok").add()
  }

  func retrying(_ operation: BucketOperation) { retries(operation).add() }

  func cacheReads(_ outcome: BundleCache.Outcome) -> Counter {
    metrics.counter(
      "needletail_store_cache_reads_total", help: "Bundles looked for in the cache of the object store.",
      labels: [("outcome", outcome.rawValue)])
  }

  private func counter(_ operation: BucketOperation, _ outcome: String) -> Counter {
    metrics.counter(
      Self.requests, help: Self.requestsHelp, labels: [("operation", operation.rawValue), ("outcome", outcome)])
  }

  private func retries(_ operation: BucketOperation) -> Counter {
    metrics.counter(
      "needletail_store_retries_total", help: "Requests to the object store that were sent again.",
      labels: [("operation", operation.rawValue)])
  }
}
