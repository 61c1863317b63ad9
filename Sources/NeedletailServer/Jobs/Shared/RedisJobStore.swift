internal import NIOCore
internal import NeedletailCore
internal import NeedletailMetrics
internal import NeedletailRedis
internal import NeedletailSystem
internal import Synchronization

/// Jobs and results in Redis, where all servers of a fleet share them: any server takes a submission, any answers
/// questions about it, and any runs it, under a lease.
///
/// What is decided about jobs is decided by scripts inside of Redis (``JobScripts``). Threads of their own wait for Redis:
/// two for short questions, two for bodies, one for the thread that runs jobs, and the ``JobLeaseKeeper``.
final class RedisJobStore: JobStore {
  typealias Event = RedisClient.Event

  /// Name of the limit that all requests together can exceed.
  static let bytesLimit = "job_bytes_max"

  private let shared: SharedJobOptions
  private let options: JobOptions
  private let requests: JobBudget
  private let results: JobBudget
  private let counters: JobCounters
  private let wakeup: Wakeup
  private let failures: Counter
  private let scripts: JobScriptRunner
  private let keeper: JobLeaseKeeper
  private let short: [RedisWorker]
  private let long: [RedisWorker]
  private let runner: RedisWorker
  private let bodies: JobBodies

  /// Starts the threads. Nothing is asked yet; a server starts without Redis.
  /// - Parameter report: called on those threads, when Redis begins to fail and when it works again.
  init(
    _ shared: SharedJobOptions, _ options: JobOptions, requests: JobBudget, results: JobBudget, counters: JobCounters,
    wakeup: Wakeup, metrics: MetricsRegistry, report: @escaping @Sendable (Event) -> Void
  ) {
    self.shared = shared
    self.options = options
    self.requests = requests
    self.results = results
    self.counters = counters
    self.wakeup = wakeup
    failures = metrics.counter(
      "needletail_job_store_failures_total", help: "Questions to the shared store of jobs that it did not answer.")
    scripts = JobScriptRunner(shared, counters: counters, metrics: metrics)
    bodies = JobBodies(scripts)
    let look = Wakeup()
    let client = RedisClient(
      shared.location, milliseconds: Limits.jobStoreMilliseconds,
      password: { () throws(RedisError) in
        do throws(ConfigurationError) {
          return try shared.password()
        } catch {
          throw RedisError(.unreachable, error.message)
        }
      },
      report: { event in
        report(event)
        look.signal()
        wakeup.signal()
      })
    keeper = JobLeaseKeeper(client, scripts, look, leaseMilliseconds: shared.leaseMilliseconds) { wakeup.signal() }
    func worker(_ name: String, _ niceness: Int32) -> RedisWorker {
      RedisWorker(
        client, name: "nt-jobs-\(name)", niceness: niceness, waitingMax: Limits.jobStoreWaitingMax,
        waitingMicroseconds: Limits.jobStoreWaitMicroseconds)
    }
    short = [worker("ask0", 0), worker("ask1", 0)]
    long = [worker("body0", 10), worker("body1", 10)]
    runner = worker("run", 10)
    keeper.start()
    addMetrics(to: metrics, client)
  }

  private func addMetrics(to metrics: MetricsRegistry, _ client: RedisClient) {
    metrics.sampled(
      "needletail_job_store_up", kind: .gauge, help: "1 while the shared store of jobs answers, else 0."
    ) { client.isUp ? 1 : 0 }
    for (kind, bytes) in [("requests", \JobReply.Counts.requestBytes), ("results", \.resultBytes)] as [(String, _)] {
      metrics.sampled(
        "needletail_job_store_bytes", kind: .gauge, help: "Bytes that jobs hold in the shared store, by what it is.",
        labels: [("kind", kind)]
      ) { [scripts] in (scripts.counts?[keyPath: bytes]).map(Double.init) }
    }
  }

  /// Jobs of the fleet at the last answer, without those that have ended without a result.
  var counts: [JobState: Int] {
    scripts.counts.map { [.queued: $0.queued, .running: $0.running, .done: $0.done] } ?? [:]
  }

  // MARK: asking

  private func ask<Value: Sendable>(
    _ workers: [RedisWorker], _ body: @escaping @Sendable (RedisConnection) throws(RedisError) -> Value
  ) async throws(ServingError) -> Value {
    let worker = workers[0].load <= workers[1].load ? workers[0] : workers[1]
    do throws(RedisError) {
      return try await worker.ask(body)
    } catch {
      failures.add()
      throw Self.silent
    }
  }

  /// Error of a call that Redis does not answer; why is in the log, and no matter of callers.
  private static let silent = ServingError(
    .unavailable, "jobs: expected an answer of the store that servers share, found none",
    retryAfterMicroseconds: UInt32(Limits.jobRetrySeconds * 1_000_000))

  /// Asks from the thread that runs jobs.
  private func wait<Value: Sendable>(
    _ body: @escaping @Sendable (RedisConnection) throws(RedisError) -> Value
  ) throws(RedisError) -> Value {
    do throws(RedisError) {
      return try runner.askAndWait(body)
    } catch {
      failures.add()
      throw error
    }
  }

  // MARK: callers

  func submit(_ job: Jobs.Submission) async throws(ServingError) -> (status: JobStatus, isNew: Bool) {
    let isShort = job.request.bytes.count <= Limits.jobPartBytes
    let reply = try await ask(isShort ? short : long) { [self] (connection) throws(RedisError) in
      try bodies.send(job, arguments(of: job), connection)
    }
    switch reply.verdict {
    case "new", "ok", "known":
      guard let id = JobID(reply.rest.first) else { throw JobRecord.unreadable("an id") }
      return (try JobRecord(id, reply.rest.last).status, reply.verdict != "known")
    case "conflict":
      let id = JobID(reply.rest.first).map { "\($0)" } ?? "before"
      throw Jobs.conflict(with: id)
    case "count": throw Jobs.full("jobs", "jobs_max", options.countMax, found: found(reply))
    case "caller":
      throw Jobs.full("jobs of this caller", "jobs_per_caller_max", options.perCallerMax, found: found(reply))
    case "memory":
      throw Jobs.full(
        "bytes of all requests", Self.bytesLimit, options.bytesMax / 2, found: found(reply) + job.request.bytes.count)
    case "busy":
      throw ServingError(
        .unavailable, "Idempotency-Key: expected no submission of this key on its way, found one",
        retryAfterMicroseconds: UInt32(Limits.jobRetrySeconds * 1_000_000))
    default: throw Self.silent
    }
  }

  private func found(_ reply: JobReply) -> Int { reply.rest.first?.integer ?? 0 }

  /// Arguments of the script `submit`, up to the first part of the body.
  private func arguments(of job: Jobs.Submission) -> [RedisArgument] {
    let life = options.time.milliseconds
    var version: UInt64 = 0
    if case .version(let number) = job.model.selector { version = number }
    return [
      .text("\(job.id)"), .text(job.caller), .text(job.key ?? ""), .text(JobBodies.hexadecimal(job.digest)),
      .text(job.model.model), .text("\(version)"), .number(job.request.head.jsonBytes ?? -1),
      .number(job.request.bytes.count), .number(life), .number(options.countMax), .number(options.perCallerMax),
      .number(options.bytesMax / 2), .number(indexMilliseconds),
    ]
  }

  /// Time for which the lists of jobs are kept after the last one was submitted.
  private var indexMilliseconds: Int {
    options.time.milliseconds + options.resultTime.milliseconds + Limits.jobMemorySeconds * 1000
  }

  func status(_ id: JobID, caller: String) async throws(ServingError) -> JobStatus? {
    try await record(id, caller)?.status
  }

  private func record(
    _ id: JobID, _ caller: String, _ script: RedisScript = JobScripts.status
  ) async throws(ServingError) -> JobRecord? {
    let reply = try await ask(short) { [scripts] (connection) throws(RedisError) in
      try scripts.run(script, [.text("\(id)"), .text(caller)], connection)
    }
    guard reply.verdict != "none" else { return nil }
    let record = try JobRecord(id, reply.rest.last)
    if reply.verdict == "ended", record.status.state == .cancelled { counters.came(to: .cancelled).add() }
    if reply.verdict == "ended", record.status.state == .expired { counters.came(to: .expired).add() }
    return record
  }

  func cancel(_ id: JobID, caller: String) async throws(ServingError) -> JobStatus? {
    guard let record = try await record(id, caller, JobScripts.cancel) else { return nil }
    if let lease = keeper.lease, lease.id == id, record.status.state == .cancelled {
      lease.progress.isCancelled.store(true, ordering: .relaxed)
      wakeup.signal()
    }
    return record.status
  }

  func result(_ id: JobID, caller: String) async throws(ServingError) -> Jobs.Found? {
    guard let record = try await record(id, caller) else { return nil }
    guard record.status.state == .done else { return .none(record.status) }
    let bytes = record.resultBytes
    guard bytes <= options.resultBytesMax else {
      throw .internal("result: expected at most \(options.resultBytesMax) bytes at this server, found \(bytes)")
    }
    guard let reservation = results.reserve(bytes) else {
      throw ServingError(
        .overloaded, "results: expected room for \(bytes) bytes beside those that callers fetch, found too little",
        retryAfterMicroseconds: UInt32(Limits.jobRetrySeconds * 1_000_000))
    }
    let body = try await ask(long) { [self] (connection) throws(RedisError) -> ByteBuffer? in
      var body = ByteBuffer()
      body.reserveCapacity(bytes)
      let isWhole = try bodies.read("result", id, bytes: bytes, connection) { body.writeBytes($0) }
      return isWhole ? body : nil
    }
    if let body { return .answer(JobResult(body, jsonBytes: record.resultJSONBytes, reservation)) }
    // It may have expired since.
    guard let now = try await self.record(id, caller) else { return nil }
    guard now.status.state != .done else { throw JobRecord.unreadable("a whole result beside") }
    return .none(now.status)
  }

  // MARK: the thread that runs jobs

  private var nextLook: Instant { Instant.now().advanced(byMicroseconds: Limits.jobLookMicroseconds) }

  func next() -> (turn: Jobs.Turn?, due: Instant?) {
    // A server that does not answer is counted and said; the thread only looks again.
    guard let turn = try? wait({ [self] (connection) throws(RedisError) in try claim(connection) }) else {
      return (nil, nextLook)
    }
    return (turn, nil)
  }

  /// Gets the job that has waited longest. Records that cannot be read fail.
  private func claim(_ connection: RedisConnection) throws(RedisError) -> Jobs.Turn? {
    for _ in 0..<16 {
      let asked = Instant.now()
      let owner = "\(JobID.random())"
      let reply = try scripts.run(
        JobScripts.claim, [.text(owner), .number(shared.leaseMilliseconds)], connection)
      guard reply.verdict == "turn", let name = reply.rest.first?.bytes else { return nil }
      guard let id = JobID(reply.rest.first) else {
        try fail(name, owner, JobRecord.unreadable("an id"), connection)
        continue
      }
      let claim: JobClaim
      do throws(ServingError) {
        claim = try JobClaim(reply.rest.last, bytesMax: options.requestBytesMax)
      } catch {
        try fail(name, owner, error, connection)
        continue
      }
      let lease = JobLease(id: id, owner: owner, progress: JobProgress())
      keeper.begin(lease, asked: asked)
      do throws(RedisError) {
        if let turn = try turn(claim, lease, asked, connection) { return turn }
        keeper.end(lease)
        try fail(name, owner, JobRecord.unreadable("a whole request beside"), connection)
      } catch {
        // Its lease runs out.
        keeper.end(lease)
        throw error
      }
    }
    return nil
  }

  private func fail(
    _ name: [UInt8], _ owner: String, _ error: ServingError, _ connection: RedisConnection
  ) throws(RedisError) {
    let text = JobErrorText.encode(error)
    _ = try name.withUnsafeBytes { name in
      text.withUnsafeBytes { text in
        Result { () throws(RedisError) in
          try scripts.run(JobScripts.fail, [.bytes(name), .text(owner), .bytes(text)], connection)
        }
      }
    }.get()
    counters.came(to: .failed).add()
  }

  /// A job with its request.
  /// - Returns: nil where the request is not whole.
  private func turn(
    _ claim: JobClaim, _ lease: JobLease, _ asked: Instant, _ connection: RedisConnection
  ) throws(RedisError) -> Jobs.Turn? {
    let head = JobHead(callID: 0, model: claim.model, bodyBytes: claim.bytes, jsonBytes: claim.jsonBytes, key: nil)
    // It has a bound of its own, and only one job runs.
    guard let upload = JobUpload(head, requests.take(claim.bytes)) else {
      throw RedisError(.unreachable, "jobs: expected memory for a request of \(claim.bytes) bytes, found none")
    }
    let isWhole = try bodies.read("request", lease.id, bytes: claim.bytes, connection) { part in
      part.withUnsafeBytes { _ = upload.append($0) }
    }
    guard isWhole, upload.isWhole else { return nil }
    let age = claim.ageMilliseconds.multipliedReportingOverflow(by: 1_000_000)
    let submitted = asked.nanoseconds.subtractingReportingOverflow(age.partialValue)
    return Jobs.Turn(
      id: lease.id, request: upload,
      submitted: Instant(nanoseconds: age.overflow || submitted.overflow ? 0 : submitted.partialValue),
      due: asked.advanced(byMicroseconds: claim.leftMilliseconds * 1000), progress: lease.progress)
  }

  func reserve(_ turn: Jobs.Turn, bytes: Int) throws(ServingError) -> (reservation: JobReservation?, due: Instant?) {
    guard let lease = keeper.lease, lease.id == turn.id else { throw Self.lost }
    let most = options.bytesMax / 2
    // Where Redis does not answer, the job goes on when it does.
    let reply = try? wait { [scripts] (connection) throws(RedisError) in
      try scripts.run(
        JobScripts.reserve, [.text("\(lease.id)"), .text(lease.owner), .number(bytes), .number(most)], connection)
    }
    switch reply?.verdict {
    case "kept": return (results.take(bytes), nil)
    case "lost": throw Self.lost
    default: return (nil, nextLook)
    }
  }

  private static let lost = ServingError.unavailable("job: expected to run it until its end, found it taken away")

  func end(_ turn: Jobs.Turn, with result: Result<JobResult, ServingError>) {
    guard let lease = keeper.lease, lease.id == turn.id else { return }
    defer { keeper.end(lease) }
    var result = result
    while !lease.progress.isCancelled.load(ordering: .relaxed), keeper.lease != nil {
      do throws(RedisError) {
        let isKept = try store(result, of: turn, lease)
        guard isKept else { return }
        switch result {
        case .success: counters.came(to: .done).add()
        case .failure: counters.came(to: .failed).add()
        }
        return
      } catch {
        if error.reason == .refused, case .success = result {
          result = .failure(.unavailable("job: expected the shared store to take its result, found that it refused"))
        }
        // Beyond its time nobody waits for the job.
        guard Instant.now() < turn.due else { return }
        wakeup.wait(until: nextLook)
      }
    }
  }

  /// - Returns: false where the job is another's, or nobody's, by now.
  private func store(
    _ result: Result<JobResult, ServingError>, of turn: Jobs.Turn, _ lease: JobLease
  ) throws(RedisError) -> Bool {
    let life = options.resultTime.milliseconds
    let index = indexMilliseconds
    return try wait { [self] (connection) throws(RedisError) in
      let owned: [RedisArgument] = [.text("\(lease.id)"), .text(lease.owner)]
      switch result {
      case .failure(let error):
        let text = String(decoding: JobErrorText.encode(error), as: UTF8.self)
        return try scripts.run(JobScripts.fail, owned + [.text(text)], connection).verdict == "kept"
      case .success(let answer):
        let left = Int(clamping: turn.due.milliseconds(since: .now()))
        guard try bodies.store(answer, owned, life: left + life, connection) else { return false }
        let facts: [RedisArgument] = [
          .number(answer.body.readableBytes), .number(answer.jsonBytes ?? -1), .number(life),
          .text("\(turn.progress.version.load(ordering: .relaxed))"),
          .number(turn.progress.rows.load(ordering: .relaxed)), .number(index),
        ]
        return try scripts.run(JobScripts.done, owned + facts, connection).verdict == "kept"
      }
    }
  }

  // MARK: the end of the server

  /// Jobs that wait, wait for other servers.
  func failWaiting(_ error: ServingError) -> Int { 0 }

  func giveBackRunning() -> Bool {
    keeper.giveBack()
    return true
  }

  func stop() async {
    keeper.giveBack()
    await keeper.stop()
    for worker in short + long + [runner] { worker.stop() }
  }
}
