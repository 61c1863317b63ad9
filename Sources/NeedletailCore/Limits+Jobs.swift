/// Bounds of asynchronous jobs.
extension Limits {
  /// Jobs that wait, run, or have a result; default of `jobs.count_max`. Their records are small beside their requests.
  public static let jobsMaxDefault = 1000
  /// Those of one caller; default of `jobs.per_caller_max`: no caller takes all places.
  public static let jobsPerCallerDefault = 100
  /// Bytes of all requests and results together, half for each; default of `jobs.bytes_max`. They have halves of their own,
  /// because a queue full of requests would otherwise leave no room for the result that empties it.
  public static let jobBytesDefault = 512 << 20
  /// Bytes of one request; default of `jobs.request_bytes_max`. A million rows of 64 fp32 features as bytes are 256 MB, and
  /// 100,000 rows of JSON some 60 MB.
  public static let jobRequestBytesDefault = 128 << 20
  /// Largest such setting: the places of texts count bytes in 32 bits.
  public static let jobRequestBytesCap = 2 << 30
  /// Rows of one job; default of `jobs.rows_max`.
  public static let jobRowsDefault = 1_000_000
  /// Largest such setting.
  public static let jobRowsCap = 100_000_000
  /// Time in seconds from the submission of a job to its end; default of `jobs.seconds_max`. A job holds the version that
  /// answers it, which may have been replaced, in memory as long as it runs.
  public static let jobSecondsDefault = 3600
  /// Time in seconds that a result can be fetched; default of `jobs.result_seconds`.
  public static let jobResultSecondsDefault = 3600
  /// Time in seconds for which it is known, after the result has gone, that there was such a job.
  public static let jobMemorySeconds = 600
  /// Records of jobs without request and result: of so many it is known that they failed, were cancelled or expired.
  public static let jobsRememberedMax = 4096
  /// Bytes of a caller's own key for a job.
  public static let jobKeyBytesMax = 128
  /// Pause in seconds that a caller is asked to make between two looks at a job, or where there is no room for one.
  public static let jobRetrySeconds = 1
}
