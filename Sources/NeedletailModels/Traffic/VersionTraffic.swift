/// What one live version answers: since it is live, and lately.
package struct VersionTraffic: Sendable, Equatable {
  /// One interval of the meter, for a curve.
  package struct Point: Sendable, Equatable {
    package var requestsPerSecond: Double
    /// Nil if nothing was answered in it.
    package var p99Microseconds: UInt32?

    package init(requestsPerSecond: Double, p99Microseconds: UInt32? = nil) {
      self.requestsPerSecond = requestsPerSecond
      self.p99Microseconds = p99Microseconds
    }
  }

  /// Predict calls that reached it, those that did not end in OK, and rows answered.
  package var requests: UInt64 = 0
  package var failed: UInt64 = 0
  package var rows: UInt64 = 0
  /// The same within the last ``windowMilliseconds``.
  package var recentRequests: UInt64 = 0
  package var recentFailed: UInt64 = 0
  package var recentRows: UInt64 = 0
  package var windowMilliseconds: UInt32 = 0
  /// Of the model's recent requests those of this version, 0 to 1.
  package var share: Double = 0
  /// Of the recent answers, from the request's last byte to its answer; nil if there were none.
  package var p50Microseconds: UInt32?
  package var p99Microseconds: UInt32?
  /// Oldest first.
  package var points: [Point] = []

  package init() {}

  /// Recent requests a second.
  package var requestsPerSecond: Double {
    windowMilliseconds == 0 ? 0 : Double(recentRequests) * 1000 / Double(windowMilliseconds)
  }
}
