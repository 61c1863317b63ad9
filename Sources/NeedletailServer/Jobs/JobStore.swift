internal import NeedletailCore

/// All jobs of a server by itself: see ``JobTable``.
typealias Jobs = JobTable<JobUpload, JobResult>

/// Where jobs and their results are: in the memory of one server (``MemoryJobStore``), or in Redis, where servers share
/// them (``RedisJobStore``).
///
/// The calls of callers are asynchronous and keep no thread of Swift's pool waiting. Those of the thread that runs jobs may
/// block it.
protocol JobStore: Sendable {
  /// Jobs in each state, as far as they are known.
  var counts: [JobState: Int] { get }

  // MARK: callers

  /// Gives a job a place in the queue.
  /// - Returns: its status; and false where the caller has submitted the same request by this key before.
  /// - Throws: `.overloaded` where there is no place, `.invalidArgument` for a key of another request, `.unavailable`
  ///   where the store does not answer; so do the calls below.
  func submit(_ job: Jobs.Submission) async throws(ServingError) -> (status: JobStatus, isNew: Bool)

  /// - Returns: nil: this caller has no job of this id; so do the calls below.
  func status(_ id: JobID, caller: String) async throws(ServingError) -> JobStatus?

  /// Ends a job that waits or runs, or drops its result.
  func cancel(_ id: JobID, caller: String) async throws(ServingError) -> JobStatus?

  func result(_ id: JobID, caller: String) async throws(ServingError) -> Jobs.Found?

  // MARK: the thread that runs jobs

  /// The next job, which runs from now on.
  /// - Returns: nil if there is none, with the time at which to look again.
  func next() -> (turn: Jobs.Turn?, due: Instant?)

  /// Makes room for the result of the job that runs.
  /// - Returns: nil where there is none now, with the time at which to look again.
  /// - Throws: where there will be none.
  func reserve(_ turn: Jobs.Turn, bytes: Int) throws(ServingError) -> (reservation: JobReservation?, due: Instant?)

  /// Notes how the job that ran has ended. It is as it was where it was cancelled meanwhile.
  func end(_ turn: Jobs.Turn, with result: Result<JobResult, ServingError>)

  // MARK: the end of the server

  /// Fails the jobs that wait and that nobody else can run.
  /// - Returns: how many.
  func failWaiting(_ error: ServingError) -> Int

  /// Lets another server run the job that runs here.
  /// - Returns: false where there is no other: the job is to fail.
  func giveBackRunning() -> Bool

  /// Ends what the store has begun.
  func stop() async
}
