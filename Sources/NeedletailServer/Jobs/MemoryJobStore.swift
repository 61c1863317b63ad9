internal import NeedletailCore
internal import NeedletailMetrics
internal import NeedletailSystem
internal import Synchronization

/// Jobs and results in the memory of one server. They end with the process.
final class MemoryJobStore: JobStore {
  private let table: Mutex<Jobs>
  private let results: JobBudget
  private let counters: JobCounters
  /// Wakes the thread that runs jobs.
  private let wakeup: Wakeup

  init(_ bounds: Jobs.Bounds, results: JobBudget, counters: JobCounters, wakeup: Wakeup) {
    table = Mutex(JobTable(bounds))
    self.results = results
    self.counters = counters
    self.wakeup = wakeup
  }

  var counts: [JobState: Int] {
    let counts = locked { table, _ in table.counts }
    return Dictionary(uniqueKeysWithValues: JobState.allCases.map { ($0, counts[$0] ?? 0) })
  }

  /// Works on the table, after what is due by now was done.
  private func locked<Value: Sendable>(_ body: (inout Jobs, Instant) -> Value) -> Value {
    let now = Instant.now()
    let (value, swept) = table.withLock { table in
      let swept = table.sweep(now: now)
      return (body(&table, now), swept)
    }
    if swept.overdue > 0 { counters.came(to: .failed).add(UInt64(swept.overdue)) }
    if swept.expired > 0 { counters.came(to: .expired).add(UInt64(swept.expired)) }
    return value
  }

  // MARK: callers

  func submit(_ job: Jobs.Submission) async throws(ServingError) -> (status: JobStatus, isNew: Bool) {
    try locked { table, now in
      Result { () throws(ServingError) in try table.submit(job, now: now) }
    }.get()
  }

  func status(_ id: JobID, caller: String) async throws(ServingError) -> JobStatus? {
    locked { $0.status(id, caller: caller, now: $1) }
  }

  func cancel(_ id: JobID, caller: String) async throws(ServingError) -> JobStatus? {
    guard let (status, dropped) = locked({ $0.cancel(id, caller: caller, now: $1) }) else { return nil }
    if status.state == .cancelled { counters.came(to: .cancelled).add() }
    withExtendedLifetime(dropped) {}
    wakeup.signal()
    return status
  }

  func result(_ id: JobID, caller: String) async throws(ServingError) -> Jobs.Found? {
    locked { $0.result(id, caller: caller, now: $1) }
  }

  // MARK: the thread that runs jobs

  func next() -> (turn: Jobs.Turn?, due: Instant?) {
    locked { table, now in
      let turn = table.next(now: now)
      return (turn, table.nextDue)
    }
  }

  /// Others expire in time.
  func reserve(_ turn: Jobs.Turn, bytes: Int) throws(ServingError) -> (reservation: JobReservation?, due: Instant?) {
    if let reservation = results.reserve(bytes) { return (reservation, nil) }
    return (nil, locked { table, _ in table.nextDue })
  }

  func end(_ turn: Jobs.Turn, with result: Result<JobResult, ServingError>) {
    guard locked({ $0.end(turn.id, with: result, now: $1) }) else { return }
    switch result {
    case .success: counters.came(to: .done).add()
    case .failure: counters.came(to: .failed).add()
    }
  }

  // MARK: the end of the server

  func failWaiting(_ error: ServingError) -> Int {
    let dropped = locked { $0.failWaiting(error, now: $1) }
    counters.came(to: .failed).add(UInt64(dropped.count))
    return dropped.count
  }

  func giveBackRunning() -> Bool { false }

  func stop() async {}
}
