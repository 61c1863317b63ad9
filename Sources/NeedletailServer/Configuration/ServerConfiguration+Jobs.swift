internal import NeedletailCore
internal import NeedletailRedis
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

  /// Redis, where servers share jobs; nil: they are in the memory of this one.
  var shared: SharedJobOptions?

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
    options.shared = try sharedJobs(values)
    guard options.countMax > 0 else { return nil }
    guard options.requestBytesMax <= options.bytesMax / 2 else {
      throw ConfigurationError(
        "jobs.request_bytes_max: expected at most half of jobs.bytes_max (\(options.bytesMax)), found "
          + "\(options.requestBytesMax)")
    }
    return options
  }
}

extension ServerConfiguration {
  /// - Returns: nil where jobs are in memory.
  private static func sharedJobs(_ values: SettingValues) throws(ConfigurationError) -> SharedJobOptions? {
    let place = try values.path(.jobStore) ?? "memory"
    let password = try values.path(.jobStorePassword)
    let prefix = try values.path(.jobStorePrefix) ?? ""
    let lease = try values.seconds(.jobLease)
    let runs = try values.integer(.jobRuns)
    guard place != "memory" else {
      guard password == nil else {
        throw ConfigurationError("jobs.store_password_file: expected jobs.store of Redis beside it, found memory")
      }
      return nil
    }
    let location: RedisLocation
    do throws(RedisError) {
      location = try RedisLocation(place)
    } catch {
      throw ConfigurationError("jobs.store: \(error)")
    }
    var options = SharedJobOptions(location)
    guard location.user == nil || password != nil else {
      throw ConfigurationError("jobs.store: expected jobs.store_password_file beside a user, found none")
    }
    let isPlain = prefix.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F }
    guard isPlain, (1...64).contains(prefix.utf8.count) else {
      throw ConfigurationError("jobs.store_prefix: expected 1 to 64 letters without spaces, found something else")
    }
    options.passwordFile = password
    options.prefix = prefix
    options.lease = lease
    options.runsMax = runs
    return options
  }

  /// Reads the password of Redis. Redis is not asked: a server starts without it.
  func checkJobStore() throws(ConfigurationError) { _ = try jobs?.shared?.password() }
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
  static let jobStore = ServerSetting(
    "jobs.store", .path, default: "memory",
    "Where jobs are: memory, or the Redis that servers share, redis://[USER@]HOST:PORT/DB or unix:///PATH?db=DB")
  static let jobStorePassword = ServerSetting(
    "jobs.store_password_file", .path, "File of the password of Redis, read before each connection")
  static let jobStorePrefix = ServerSetting(
    "jobs.store_prefix", .path, default: "needletail", "Begin of the names of all keys in Redis: of one fleet")
  static let jobLease = ServerSetting(
    "jobs.lease_seconds", .seconds(0.1...300), default: "\(Limits.jobLeaseSecondsDefault)",
    "Seconds after which another server runs the job of one that is lost")
  static let jobRuns = ServerSetting(
    "jobs.runs_max", .integer(1...100), default: "\(Limits.jobRunsMaxDefault)",
    "How often a job may be begun by servers that are lost; then it fails")
}
