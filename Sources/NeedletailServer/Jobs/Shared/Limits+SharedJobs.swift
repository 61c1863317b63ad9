internal import NeedletailCore

/// Bounds of jobs in Redis.
extension Limits {
  /// Time in seconds for which a server has a job without saying that it still runs it; default of `jobs.lease_seconds`.
  /// Short, since a job waits so long after its server was lost; long beside the pauses of a busy machine.
  static let jobLeaseSecondsDefault = 15
  /// How often a job may be begun; default of `jobs.runs_max`. One that ends its server must not end all of them.
  static let jobRunsMaxDefault = 3
  /// Time in milliseconds for a connection to Redis, and for each of its reads and writes.
  static let jobStoreMilliseconds = 2000
  /// Time in microseconds for which a question waits for its turn. A caller learns at the latest after this and twice the
  /// time above that Redis does not answer.
  static let jobStoreWaitMicroseconds: UInt64 = 2_000_000
  /// Questions that wait for one connection.
  static let jobStoreWaitingMax = 256
  /// Time in seconds for the body of a request or of a result.
  static let jobStoreBodySeconds: UInt64 = 120
  /// Time in milliseconds for the next part of a request, after which its submission is forgotten.
  static let jobUploadMilliseconds = 10_000
  /// Bytes of one part of a body. Redis does nothing else while it takes one: some 0.1 ms.
  static let jobPartBytes = 512 << 10
  /// Longest part that is read.
  static let jobPartBytesMax = 4 << 20
  /// Time in microseconds between two looks for a job, or for room for its result.
  static let jobLookMicroseconds: UInt64 = 250_000
  /// Longest time in microseconds between two renewals of a lease, which also say how far the job is and hear that it was
  /// cancelled.
  static let jobRenewalMicroseconds: UInt64 = 1_000_000
  /// Bytes of the file with the password of Redis.
  static let jobPasswordBytesMax = 4096
  /// Bytes of an error in a record.
  static let jobErrorBytesMax = 16 << 10
}
