internal import NeedletailCore
internal import NeedletailSystem

/// Bounds of asynchronous jobs.
public struct JobOptions: Sendable, Equatable {
  /// Jobs that wait, run or have a result.
  public var countMax = Limits.jobsMaxDefault
  /// Those of one caller.
  public var perCallerMax = Limits.jobsPerCallerDefault
  /// Bytes of all requests and results, half for each.
  public var bytesMax = Limits.jobBytesDefault
  /// Bytes of one request.
  public var requestBytesMax = Limits.jobRequestBytesDefault
  public var rowsMax = Limits.jobRowsDefault
  /// Time from submission to end.
  public var time: Duration = .seconds(Limits.jobSecondsDefault)
  /// Time for which a result is kept.
  public var resultTime: Duration = .seconds(Limits.jobResultSecondsDefault)
  /// Bytes of one result. More would never find room among the answers of all connections.
  public var resultBytesMax = min(Limits.jobBytesDefault / 2, Limits.outputBytesTotalMaxDefault)

  /// Priority of the thread that runs jobs. Tests that keep every processor busy give it one that has a share.
  var niceness = NativeThread.idle

  public init() {}

  var tableBounds: JobTable<JobUpload, JobResult>.Bounds {
    var bounds = JobTable<JobUpload, JobResult>.Bounds()
    bounds.countMax = countMax
    bounds.perCallerMax = perCallerMax
    bounds.jobNanoseconds = UInt64(clamping: time.nanoseconds)
    bounds.resultNanoseconds = UInt64(clamping: resultTime.nanoseconds)
    return bounds
  }
}

extension ServerConfiguration {
  /// - Returns: nil where there are to be no jobs.
  static func jobs(_ values: SettingValues) throws(ConfigurationError) -> JobOptions? {
    let total = try values.integer(.outputBytesTotal)
    var options = JobOptions()
    options.countMax = try values.integer(.jobsMax)
    options.perCallerMax = try values.integer(.jobsPerCaller)
    options.bytesMax = try values.integer(.jobBytes)
    options.requestBytesMax = try values.integer(.jobRequestBytes)
    options.rowsMax = try values.integer(.jobRows)
    options.time = try values.seconds(.jobSeconds)
    options.resultTime = try values.seconds(.jobResultSeconds)
    options.resultBytesMax = min(options.bytesMax / 2, total)
    guard options.countMax > 0 else { return nil }
    guard options.requestBytesMax <= options.bytesMax / 2 else {
      throw ConfigurationError(
        "jobs.request_bytes_max: expected at most half of jobs.bytes_max (\(options.bytesMax)), found "
          + "\(options.requestBytesMax)")
    }
    return options
  }
}

extension ServerSetting {
  static let jobsMax = ServerSetting(
    "jobs.count_max", .integer(0...1_000_000), default: "\(Limits.jobsMaxDefault)",
    "Asynchronous jobs of the HTTP port that wait, run or have a result; 0 takes none")
  static let jobsPerCaller = ServerSetting(
    "jobs.per_caller_max", .integer(1...1_000_000), default: "\(Limits.jobsPerCallerDefault)",
    "Those of one API key or certificate")
  static let jobBytes = ServerSetting(
    "jobs.bytes_max", .integer(1 << 20...(1 << 40)), default: "\(Limits.jobBytesDefault)",
    "Bytes of the requests and results of all jobs in memory, half for each")
  static let jobRequestBytes = ServerSetting(
    "jobs.request_bytes_max", .integer(1024...Limits.jobRequestBytesCap), default: "\(Limits.jobRequestBytesDefault)",
    "Bytes of one job's request")
  static let jobRows = ServerSetting(
    "jobs.rows_max", .integer(1...Limits.jobRowsCap), default: "\(Limits.jobRowsDefault)", "Rows of one job")
  static let jobSeconds = ServerSetting(
    "jobs.seconds_max", .seconds(0.001...604_800), default: "\(Limits.jobSecondsDefault)",
    "Seconds from the submission of a job to its end; then it fails")
  static let jobResultSeconds = ServerSetting(
    "jobs.result_seconds", .seconds(0.001...604_800), default: "\(Limits.jobResultSecondsDefault)",
    "Seconds for which the result of a job can be fetched")
}
