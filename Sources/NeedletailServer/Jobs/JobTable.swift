internal import NeedletailCore
internal import Synchronization

/// All jobs, and where each of them is. Pure: calls and time go in, decisions come out; ``JobService`` holds it under a
/// lock and carries them out. A job goes
///
///     queued → running → done → expired → forgotten
///
/// and from `queued` and `running` also to `failed` or `cancelled`, which are forgotten as expired ones are. All times are
/// the same for all jobs, so that each list of it is in the order in which its jobs are due.
///
/// Generic over request and result, of which it only knows who holds them.
struct JobTable<Request: AnyObject & Sendable, Answer: AnyObject & Sendable>: ~Copyable {
  /// A request or a result.
  typealias Held = any AnyObject & Sendable

  /// Bounds in numbers of jobs and in the units of the clock.
  struct Bounds: Sendable {
    var countMax = Limits.jobsMaxDefault
    var perCallerMax = Limits.jobsPerCallerDefault
    var jobNanoseconds = UInt64(Limits.jobSecondsDefault) * 1_000_000_000
    var resultNanoseconds = UInt64(Limits.jobResultSecondsDefault) * 1_000_000_000
    var memoryNanoseconds = UInt64(Limits.jobMemorySeconds) * 1_000_000_000
    var rememberedMax = Limits.jobsRememberedMax
  }

  /// A job that wants a place.
  struct Submission: Sendable {
    var id: JobID
    /// Name of who submits it.
    var caller: String
    /// The caller's own key for it; nil: it has none.
    var key: String?
    /// Hash of the request; empty without a key.
    var digest: [UInt8] = []
    var model: ModelReference
    var request: Request
  }

  /// A job whose turn it is.
  struct Turn: Sendable {
    let id: JobID
    let request: Request
    let submitted: Instant
    /// Time by which it must have ended.
    let due: Instant
    let progress: JobProgress
  }

  /// What there is to fetch.
  enum Found: Sendable {
    case answer(Answer)
    /// Not yet, or not any more.
    case none(JobStatus)
  }

  private enum Content {
    case queued(Request)
    case running
    case done(Answer)
    case failed(ServingError)
    case cancelled
    case expired

    var state: JobState {
      switch self {
      case .queued: .queued
      case .running: .running
      case .done: .done
      case .failed: .failed
      case .cancelled: .cancelled
      case .expired: .expired
      }
    }
  }

  private struct Record {
    let caller: String
    let key: String?
    let digest: [UInt8]
    let model: String
    let submitted: Instant
    let progress = JobProgress()
    var content: Content
    /// Time at which it came to its present state, of states that end.
    var since = Instant(nanoseconds: 0)
  }

  private struct KeyOfCaller: Hashable {
    let caller: String
    let key: String
  }

  private let bounds: Bounds
  private var records: [JobID: Record] = [:]
  private var ids: [KeyOfCaller: JobID] = [:]
  /// Jobs that wait, run or have a result, by caller.
  private var held: [String: Int] = [:]
  private var waiting: [JobID] = []
  private var running: JobID?
  /// Jobs with a result, in the order in which they were done.
  private var done: [JobID] = []
  /// Jobs without request and result, in the order in which they ended.
  private var ended: [JobID] = []

  init(_ bounds: Bounds) { self.bounds = bounds }

  /// Number of jobs in each state.
  var counts: [JobState: Int] {
    var counts: [JobState: Int] = [.queued: waiting.count, .running: running == nil ? 0 : 1, .done: done.count]
    for id in ended { if let state = records[id]?.content.state { counts[state, default: 0] += 1 } }
    return counts
  }

  private var countHeld: Int { waiting.count + done.count + (running == nil ? 0 : 1) }

  // MARK: callers

  /// Gives a job a place in the queue.
  /// - Returns: its status; and false where the caller has submitted the same request by this key before.
  /// - Throws: `.overloaded` where there is no place, `.invalidArgument` for a key of another request.
  mutating func submit(
    _ job: Submission, now: Instant
  ) throws(ServingError) -> (status: JobStatus, isNew: Bool) {
    if let key = job.key, let known = ids[KeyOfCaller(caller: job.caller, key: key)], let record = records[known] {
      guard record.digest == job.digest, record.model == job.model.model else {
        throw Self.conflict(with: "\(known)")
      }
      return (status(known, record, now), false)
    }
    guard countHeld < bounds.countMax else {
      throw Self.full("jobs", "jobs_max", bounds.countMax, found: countHeld + 1)
    }
    let own = held[job.caller, default: 0]
    guard own < bounds.perCallerMax else {
      throw Self.full("jobs of this caller", "jobs_per_caller_max", bounds.perCallerMax, found: own + 1)
    }
    let record = Record(
      caller: job.caller, key: job.key, digest: job.digest, model: job.model.model, submitted: now,
      content: .queued(job.request))
    records[job.id] = record
    if let key = job.key { ids[KeyOfCaller(caller: job.caller, key: key)] = job.id }
    held[job.caller] = own + 1
    waiting.append(job.id)
    return (status(job.id, record, now), true)
  }

  /// Error of a submission under the key of another request.
  static func conflict(with job: String) -> ServingError {
    .invalidArgument(
      "Idempotency-Key: expected the request that job \(job) was submitted with, found another",
      .init(field: "Idempotency-Key"))
  }

  /// Error of a submission that finds no place.
  static func full(_ what: String, _ limit: String, _ maximum: Int, found: Int) -> ServingError {
    ServingError(
      .overloaded, "\(what): expected at most \(maximum), found one more",
      retryAfterMicroseconds: UInt32(Limits.jobRetrySeconds * 1_000_000),
      detail: ErrorDetail(limit: .init(limit, maximum: UInt64(maximum), found: UInt64(found))))
  }

  /// Status of a caller's job; nil: this caller has none of this id.
  func status(_ id: JobID, caller: String, now: Instant) -> JobStatus? {
    record(id, caller).map { status(id, $0, now) }
  }

  /// Result of a caller's job, or why there is none; nil: this caller has no job of this id.
  func result(_ id: JobID, caller: String, now: Instant) -> Found? {
    record(id, caller).map { record in
      if case .done(let answer) = record.content { .answer(answer) } else { .none(status(id, record, now)) }
    }
  }

  /// Ends a caller's job that waits or runs, or drops its result; one that has ended without a result stays as it is.
  /// - Returns: its status afterwards, and what is to be let go outside of the lock; nil: this caller has no job of this id.
  mutating func cancel(_ id: JobID, caller: String, now: Instant) -> (status: JobStatus, dropped: Held?)? {
    guard let record = record(id, caller) else { return nil }
    var dropped: Held?
    switch record.content {
    case .queued(let request):
      waiting.removeAll { $0 == id }
      dropped = request
      close(id, .cancelled, now)
    case .running:
      // Its thread finds out; what it brings then is nobody's.
      record.progress.isCancelled.store(true, ordering: .relaxed)
      running = nil
      close(id, .cancelled, now)
    case .done(let answer):
      done.removeAll { $0 == id }
      dropped = answer
      close(id, .expired, now)
    case .failed, .cancelled, .expired: break
    }
    return status(id, caller: caller, now: now).map { ($0, dropped) }
  }

  private func record(_ id: JobID, _ caller: String) -> Record? {
    guard let record = records[id], record.caller == caller else { return nil }
    return record
  }

  private func status(_ id: JobID, _ record: Record, _ now: Instant) -> JobStatus {
    var status = JobStatus(
      id: id, model: record.model, state: record.content.state,
      ageMilliseconds: now.milliseconds(since: record.submitted))
    status.version = record.progress.version.load(ordering: .relaxed)
    status.rows = record.progress.rows.load(ordering: .relaxed)
    status.rowsDone = record.progress.rowsDone.load(ordering: .relaxed)
    switch record.content {
    case .done:
      status.expiresInMilliseconds = record.since.advanced(bounds.resultNanoseconds).milliseconds(since: now)
    case .failed(let error): status.error = error
    case .queued, .running, .cancelled, .expired: break
    }
    return status
  }

  // MARK: the thread that runs jobs

  /// The job that has waited longest, which runs from now on; nil: none waits, or one runs.
  mutating func next(now: Instant) -> Turn? {
    guard running == nil, let id = waiting.first, let record = records[id], case .queued(let request) = record.content
    else { return nil }
    waiting.removeFirst()
    running = id
    records[id]?.content = .running
    return Turn(
      id: id, request: request, submitted: record.submitted, due: due(record), progress: record.progress)
  }

  /// Notes how the job that ran has ended.
  /// - Returns: false if it was cancelled meanwhile: nobody waits for what it brought.
  mutating func end(_ id: JobID, with result: Result<Answer, ServingError>, now: Instant) -> Bool {
    guard running == id else { return false }
    running = nil
    switch result {
    case .success(let answer):
      records[id]?.content = .done(answer)
      records[id]?.since = now
      done.append(id)
    case .failure(let error): close(id, .failed(error), now)
    }
    return true
  }

  private func due(_ record: Record) -> Instant { record.submitted.advanced(bounds.jobNanoseconds) }

  // MARK: time

  /// Does what is due: jobs that have waited too long fail, results expire, and old records are forgotten.
  /// - Returns: what is to be let go outside of the lock.
  mutating func sweep(now: Instant) -> Swept {
    var swept = Swept()
    while let id = waiting.first, let record = records[id], now >= due(record) {
      waiting.removeFirst()
      if case .queued(let request) = record.content { swept.dropped.append(request) }
      swept.overdue += 1
      close(id, .failed(.deadlineExceeded("job: expected its turn within the time that jobs have, found none")), now)
    }
    while let id = done.first, let record = records[id], now >= record.since.advanced(bounds.resultNanoseconds) {
      done.removeFirst()
      if case .done(let answer) = record.content { swept.dropped.append(answer) }
      swept.expired += 1
      close(id, .expired, now)
    }
    while let id = ended.first, let record = records[id],
      ended.count > bounds.rememberedMax || now >= record.since.advanced(bounds.memoryNanoseconds)
    {
      ended.removeFirst()
      forget(id, record)
    }
    return swept
  }

  /// What a sweep found.
  struct Swept: Sendable {
    /// Requests and results.
    var dropped: [Held] = []
    var overdue = 0
    var expired = 0
  }

  /// Time at which the next sweep finds something; nil: never.
  var nextDue: Instant? {
    var next: Instant?
    func add(_ time: Instant) { next = min(next ?? time, time) }
    if let id = waiting.first, let record = records[id] { add(due(record)) }
    if let id = done.first, let record = records[id] { add(record.since.advanced(bounds.resultNanoseconds)) }
    if let id = ended.first, let record = records[id] { add(record.since.advanced(bounds.memoryNanoseconds)) }
    return next
  }

  /// Fails the jobs that wait.
  /// - Returns: what is to be let go outside of the lock, one for each job.
  mutating func failWaiting(_ error: ServingError, now: Instant) -> [Held] {
    var dropped: [Held] = []
    for id in waiting {
      if case .queued(let request)? = records[id]?.content { dropped.append(request) }
      close(id, .failed(error), now)
    }
    waiting.removeAll()
    return dropped
  }

  /// Brings a job to a state without request and result.
  private mutating func close(_ id: JobID, _ content: Content, _ now: Instant) {
    guard let caller = records[id]?.caller else { return }
    records[id]?.content = content
    records[id]?.since = now
    ended.append(id)
    let left = held[caller, default: 1] - 1
    held[caller] = left > 0 ? left : nil
  }

  private mutating func forget(_ id: JobID, _ record: Record) {
    records[id] = nil
    if let key = record.key { ids[KeyOfCaller(caller: record.caller, key: key)] = nil }
  }
}

extension Instant {
  func advanced(_ nanoseconds: UInt64) -> Instant {
    let (sum, overflow) = self.nanoseconds.addingReportingOverflow(nanoseconds)
    return Instant(nanoseconds: overflow ? .max : sum)
  }

  /// Whole milliseconds since `earlier`; 0 if that lies ahead.
  func milliseconds(since earlier: Instant) -> UInt64 {
    nanoseconds > earlier.nanoseconds ? (nanoseconds - earlier.nanoseconds) / 1_000_000 : 0
  }
}
