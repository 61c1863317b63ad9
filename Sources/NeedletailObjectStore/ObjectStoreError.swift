/// Why a request to an object store did not succeed.
public struct ObjectStoreError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The raw value is the label `outcome` of `needletail_store_requests_total`.
  public enum Reason: String, Sendable, CaseIterable {
    /// No connection, or one that broke before the answer began.
    case unreachable
    /// The answer did not come, or not fast enough.
    case timeout
    /// The answer ended early, or has another size or hash than was said.
    case torn
    /// Bytes that do not follow HTTP, XML or S3.
    case malformed
    /// More bytes or objects than the limits allow.
    case oversized
    /// Credentials that are missing, wrong, expired, or not allowed to do this.
    case denied
    /// The server's clock and this one differ too much for signatures to count.
    case clockSkew = "clock_skew"
    /// There is no such object or bucket.
    case notFound = "not_found"
    /// The condition of a conditional request does not hold.
    case conditionFailed = "condition_failed"
    /// The store asks for fewer requests.
    case throttled
    /// A fault on the store's side.
    case server
    /// The store does not know how to do this.
    case unsupported
    /// The location, or a setting in it, is wrong.
    case configuration
    /// This machine's own disk or memory.
    case io
  }

  public let reason: Reason
  /// One sentence: what was expected, and what was found.
  public let message: String
  /// Pause in seconds that the store asked for; nil: none.
  public var retryAfterSeconds: Int?

  public init(_ reason: Reason, _ message: String, retryAfterSeconds: Int? = nil) {
    self.reason = reason
    self.message = message
    self.retryAfterSeconds = retryAfterSeconds
  }

  public var description: String { message }

  /// Whether the same request may succeed when it is sent again.
  public var isTransient: Bool {
    switch reason {
    case .unreachable, .timeout, .torn, .throttled, .server: true
    case .malformed, .oversized, .denied, .clockSkew, .notFound, .conditionFailed, .unsupported, .configuration, .io:
      false
    }
  }
}
