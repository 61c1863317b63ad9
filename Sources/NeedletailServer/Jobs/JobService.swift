internal import NeedletailCore
internal import NeedletailMetrics
internal import NeedletailModels
internal import NeedletailSystem
internal import Synchronization

/// Asynchronous jobs: large requests that are computed while nobody waits, and whose results are fetched later. They and
/// their results are in a ``JobStore``.
///
/// One thread of idle priority runs them, one after the other: see ``JobThread``. Event loops call ``begin(_:)`` only, which
/// is wait-free; what asks the store runs on the concurrent pool.
final class JobService: Sendable {
  let options: JobOptions
  let counters: JobCounters
  /// Wakes the thread.
  let wakeup = Wakeup()
  let requests: JobBudget
  let results: JobBudget
  private let readiness: Readiness
  private let registry: ModelRegistry
  let store: any JobStore
  private let stage = Atomic(Stage.serving)
  /// Whether another server runs the job that ran here when this one had to stop.
  private let isGivenBack = Atomic(false)

  /// How far the end of the server has come.
  private enum Stage {
    static let serving = 0
    /// No job is taken, and none begins.
    static let draining = 1
    /// The job that runs ends too.
    static let ending = 2
    /// The thread ends.
    static let stopped = 3
  }

  /// - Parameter report: called with sentences about a store that is shared.
  init(
    _ options: JobOptions, registry: ModelRegistry, readiness: Readiness, metrics: MetricsRegistry,
    report: @escaping @Sendable (RedisJobStore.Event) -> Void = { _ in }
  ) {
    self.options = options
    self.registry = registry
    self.readiness = readiness
    counters = JobCounters(metrics: metrics)
    requests = JobBudget(bytesMax: options.bytesMax / 2, wakeup: wakeup)
    results = JobBudget(bytesMax: options.bytesMax / 2, wakeup: wakeup)
    if let shared = options.shared {
      store = RedisJobStore(
        shared, options, requests: requests, results: results, counters: counters, wakeup: wakeup, metrics: metrics,
        report: report)
    } else {
      store = MemoryJobStore(options.tableBounds, results: results, counters: counters, wakeup: wakeup)
    }
    addMetrics(to: metrics)
  }

  private func addMetrics(to metrics: MetricsRegistry) {
    for state in JobState.allCases {
      metrics.sampled(
        "needletail_jobs", kind: .gauge, help: "Jobs that are known, by state.", labels: [("state", state.rawValue)]
      ) { [weak self] in self?.store.counts[state].map(Double.init) }
    }
    for (kind, budget) in [("requests", requests), ("results", results)] {
      metrics.sampled(
        "needletail_job_bytes", kind: .gauge, help: "Memory of jobs, by what it holds.", labels: [("kind", kind)]
      ) { Double(budget.bytesTaken) }
    }
  }

  // MARK: event loops

  /// Decides by its head whether a job may be sent, and makes room for its body. Wait-free, but for memory of the system.
  /// - Throws: `.invalidArgument` for a request that is too long, `.overloaded` where there is no room, `.unavailable` at
  ///   the end of the server.
  func begin(_ head: JobHead) throws(ServingError) -> JobUpload {
    guard !isDraining else { throw refused(.stopping, Self.stopping) }
    guard head.bodyBytes <= options.requestBytesMax else {
      throw refused(
        .request,
        .invalidArgument(
          "body: expected at most \(options.requestBytesMax) bytes, found \(head.bodyBytes)",
          .init(
            limit: .init(
              Self.requestBytesLimit, maximum: UInt64(options.requestBytesMax),
              found: UInt64(clamping: head.bodyBytes)))))
    }
    guard let reservation = requests.reserve(head.bodyBytes), let upload = JobUpload(head, reservation) else {
      throw refused(
        .memory,
        ServingError(
          .overloaded,
          "jobs: expected room for \(head.bodyBytes) bytes beside the requests that wait, found too little",
          retryAfterMicroseconds: UInt32(Limits.jobRetrySeconds * 1_000_000)))
    }
    return upload
  }

  /// Name of the limit that a request can be too long for.
  static let requestBytesLimit = "job_request_bytes_max"

  private static let stopping = ServingError.unavailable("the server is stopping and takes no jobs")

  private func refused(_ reason: JobCounters.Refusal, _ error: ServingError) -> ServingError {
    counters.refused(reason).add()
    return error
  }

  // MARK: callers

  /// Queues a job whose body is whole. A model that does not exist is found here; what is wrong with the body, when the job
  /// runs.
  @concurrent func submit(_ upload: JobUpload, caller: String) async -> JobAnswer {
    do throws(ServingError) {
      guard !isDraining else { throw refused(.stopping, Self.stopping) }
      let head = upload.head
      do throws(ServingError) {
        _ = try registry.current.model(named: head.model.model, selector: head.model.plainSelector)
      } catch {
        throw refused(.request, readiness.judged(error))
      }
      let submission = Jobs.Submission(
        id: .random(), caller: caller, key: head.key, digest: head.key == nil ? [] : upload.digest,
        model: head.model, request: upload)
      do throws(ServingError) {
        let (status, isNew) = try await store.submit(submission)
        if isNew {
          counters.came(to: .queued).add()
          wakeup.signal()
        }
        return .status(status, isNew: isNew)
      } catch {
        let reason: JobCounters.Refusal =
          switch error.code {
          case .overloaded: error.detail?.limit?.name == RedisJobStore.bytesLimit ? .memory : .count
          case .unavailable: .store
          default: .request
          }
        throw refused(reason, error)
      }
    } catch {
      return .error(error, status: error.detail?.field == "Idempotency-Key" ? 409 : nil)
    }
  }

  /// Answers a question about a job. To all but its caller there is none.
  @concurrent func answer(_ question: JobQuestion, about id: JobID, caller: String) async -> JobAnswer {
    do throws(ServingError) {
      switch question {
      case .status: return answer(try await store.status(id, caller: caller))
      case .cancel: return answer(try await store.cancel(id, caller: caller))
      case .result:
        guard let found = try await store.result(id, caller: caller) else { return answer(nil) }
        switch found {
        case .answer(let result): return .result(result)
        case .none(let status): return absence(status)
        }
      }
    } catch {
      return .error(error)
    }
  }

  private func answer(_ status: JobStatus?) -> JobAnswer {
    guard let status else {
      return .error(.notFound("job: expected one of this caller, found none of this id", .init(field: "job")))
    }
    return .status(status, isNew: false)
  }

  /// Why a job has no result.
  private func absence(_ status: JobStatus) -> JobAnswer {
    let sentence = "job: expected one that is done, found it \(status.state.rawValue)"
    switch status.state {
    case .queued, .running, .done:
      let microseconds = UInt32(Limits.jobRetrySeconds * 1_000_000)
      return .error(
        ServingError(.unavailable, sentence, retryAfterMicroseconds: microseconds, detail: .init(field: "job")),
        status: 409)
    case .failed: return .error(status.error ?? .init(.internal, sentence))
    case .cancelled, .expired: return .error(.notFound(sentence, .init(field: "job")), status: 410)
    }
  }

  // MARK: the thread

  /// The next job.
  /// - Returns: nil if none waits, with the time at which to look again.
  func next() -> (turn: Jobs.Turn?, due: Instant?) {
    // Jobs of other servers wait while this one is still reading its models.
    guard !isDraining, options.shared == nil || readiness.hasScanned else {
      return (nil, Instant.now().advanced(byMicroseconds: Limits.jobLookMicroseconds))
    }
    return store.next()
  }

  /// Notes how a job has ended, but for one that another server runs because this one stops.
  func end(_ turn: Jobs.Turn, with result: Result<JobResult, ServingError>) {
    if case .failure(let error) = result, error == Self.ended, isGivenBack.load(ordering: .relaxed) { return }
    store.end(turn, with: result)
  }

  /// Error of the job that runs when it must end; nil: it goes on.
  func end(of turn: Jobs.Turn, due: Instant) -> ServingError? {
    if turn.progress.isCancelled.load(ordering: .relaxed) { return .unavailable("job: cancelled") }
    if stage.load(ordering: .relaxed) >= Stage.ending { return Self.ended }
    guard Instant.now() >= due else { return nil }
    return .deadlineExceeded("job: expected its end within the time that it had, found it running")
  }

  /// Waits until the lease of the job that runs is renewed, where it has run out: another server may run it by now.
  /// - Throws: why it ends instead.
  func waitForLease(of turn: Jobs.Turn, due: Instant) throws(ServingError) {
    while true {
      if let error = end(of: turn, due: due) { throw error }
      guard Instant.now().nanoseconds >= turn.progress.leaseEnd.load(ordering: .relaxed) else { return }
      wakeup.wait(until: min(due, Instant.now().advanced(byMicroseconds: Limits.jobLookMicroseconds)))
    }
  }

  // MARK: the end of the server

  private static let ended = ServingError.unavailable(
    "job: expected the time to end, found the server stopping; submit it again")

  private var isDraining: Bool { stage.load(ordering: .relaxed) != Stage.serving }

  /// Whether the thread is to end.
  var isStopped: Bool { stage.load(ordering: .relaxed) == Stage.stopped }

  func start() {
    let jobs = JobThread(self, registry)
    NativeThread.start(name: "nt-jobs", niceness: options.niceness) { jobs.run() }
  }

  /// Takes no more jobs and fails those that wait and that no other server can run; the one that runs goes on.
  /// - Returns: how many failed.
  func drain() -> Int {
    stage.store(Stage.draining, ordering: .relaxed)
    return store.failWaiting(Self.ended)
  }

  /// Ends the job that runs: it fails, or another server runs it.
  func endRunning() {
    isGivenBack.store(store.giveBackRunning(), ordering: .relaxed)
    stage.store(Stage.ending, ordering: .relaxed)
    wakeup.signal()
  }

  /// Ends the thread, when it next looks. Nobody waits for it: on a busy machine a thread of idle priority may take long.
  func stop() async {
    stage.store(Stage.stopped, ordering: .relaxed)
    wakeup.signal()
    await store.stop()
  }
}

extension ModelReference {
  /// The selector where it is no label.
  var plainSelector: ModelSelector {
    if case .version(let number) = selector { .version(number) } else { .serving }
  }
}
