/// Gets told of every request to an object store, on the thread that makes it.
public protocol BucketObserver: Sendable {
  /// - Parameter reason: why the request failed; nil: it succeeded.
  func requested(_ operation: BucketOperation, failed reason: ObjectStoreError.Reason?)

  /// A failed request is sent again.
  func retrying(_ operation: BucketOperation)
}

/// What a request to an object store is for. The raw value is the label `operation` of its metrics.
public enum BucketOperation: String, Sendable, CaseIterable {
  case list, head, get, put
}
