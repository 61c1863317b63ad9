public import NeedletailCore
internal import NeedletailEngine
internal import NeedletailMetrics
internal import NeedletailModels
internal import NeedletailSystem
internal import Synchronization

/// The threads that run plans too expensive for an event loop, and the queue before them.
///
/// Loops submit the calls of a tick under one lock, and workers take and finish batches under it: a few times a batch,
/// never once a row, and never on the way of a small plan. ``WorkScheduler`` makes all decisions.
///
/// `@unchecked Sendable`: everything mutable is touched under `monitor`'s lock, or atomic.
public final class WorkerPool: @unchecked Sendable {
  public struct Configuration: Sendable {
    public var workers: Int
    /// Cost up to which a call runs on its loop.
    public var inlineNanosecondsMax: UInt64
    /// Time that a call may wait for others to share its batch.
    public var queueDelayNanoseconds: UInt64

    public init(
      workers: Int, inlineNanosecondsMax: UInt64 = Limits.inlineNanosecondsMaxDefault,
      queueDelayNanoseconds: UInt64 = 0
    ) {
      self.workers = workers
      self.inlineNanosecondsMax = inlineNanosecondsMax
      self.queueDelayNanoseconds = queueDelayNanoseconds
    }
  }

  typealias Call = Unmanaged<QueuedCall>

  public let configuration: Configuration
  private let firstShard: Int
  private let monitor = Monitor()
  private var scheduler: WorkScheduler<Call>
  private var lanes: [WorkerLane?] = []
  /// Number of workers that wait for a signal.
  private var idle = 0
  private var threads = 0
  private var isStopping = false
  /// Whether some lane has little or no room.
  private let hasFullLane = Atomic(false)

  /// - Parameter firstShard: shard of the metrics of the first worker, behind those of the loops.
  public init(_ configuration: Configuration, firstShard: Int) {
    self.configuration = configuration
    self.firstShard = firstShard
    scheduler = WorkScheduler(
      workers: configuration.workers, queueDelayNanoseconds: configuration.queueDelayNanoseconds)
  }

  /// Starts the threads.
  public func start() {
    monitor.lock()
    threads = configuration.workers
    monitor.unlock()
    for index in 0..<configuration.workers {
      NativeThread.start(name: "nt-worker-\(index)", niceness: 0) { [self] in runWorker(shard: firstShard + index) }
    }
  }

  /// Ends the threads and waits for their end. Calls that still wait are not run.
  public func stop() {
    monitor.lock()
    isStopping = true
    monitor.signalAll()
    while threads > 0 { monitor.wait() }
    monitor.unlock()
  }

  /// Whether some lane has little or no room. Wait-free.
  public var isUnderPressure: Bool { hasFullLane.load(ordering: .relaxed) }

  // MARK: loops

  /// Lane of a version, held by the caller until ``release(_:)``. Takes the lock.
  func lane(for model: LiveModel) -> WorkerLane {
    monitor.lock()
    defer { monitor.unlock() }
    if let known = lanes.first(where: { $0?.model === model }), let known {
      known.users += 1
      return known
    }
    let index = scheduler.addLane(cost: model.cost, extentMax: model.compiled.plan.extentMax, now: .now())
    let lane = WorkerLane(model, index: index)
    lane.users = 1
    if index == lanes.count { lanes.append(lane) } else { lanes[index] = lane }
    lane.publish(scheduler.status(of: index, now: .now()))
    return lane
  }

  func release(_ lane: WorkerLane) {
    monitor.lock()
    defer { monitor.unlock() }
    lane.users -= 1
    // After the end, calls that were not run may still stand in its queue; no worker takes them any more.
    guard lane.users == 0, !isStopping else { return }
    scheduler.removeLane(lane.index)
    lanes[lane.index] = nil
  }

  /// Queues the calls of a tick. Calls that find no place come back at once, in `calls`; the others come back in their
  /// mailbox.
  func submit(_ calls: inout [Call], now: Instant) {
    monitor.lock()
    var kept = 0
    var queued = 0
    for index in calls.indices {
      let call = calls[index]
      let isQueued = call._withUnsafeGuaranteedRef { scheduler.enqueue(call, of: $0, now: now) }
      if isQueued {
        queued += 1
      } else {
        calls[kept] = call
        kept += 1
      }
    }
    if queued > 0 {
      publishAll(now: now)
      // One wake-up a batch: the worker that takes it wakes the next one if work is left.
      if idle > 0 { monitor.signal() }
    }
    monitor.unlock()
    calls.removeLast(calls.count - kept)
  }

  /// Publishes the figures that admission reads. Called under the lock.
  private func publishAll(now: Instant) {
    var isFull = false
    let competition = scheduler.competition(now: now)
    for lane in lanes {
      guard let lane else { continue }
      if lane.takeRejection() { scheduler.rejected(lane: lane.index, now: now) }
      lane.publish(scheduler.status(of: lane.index, competition, now: now))
      if lane.isFull { isFull = true }
    }
    hasFullLane.store(isFull, ordering: .relaxed)
  }

  // MARK: workers

  private func runWorker(shard: Int) {
    let runner = BatchRunner(shard: shard)
    var batch = WorkScheduler<Call>.Batch()
    monitor.lock()
    while !isStopping {
      let action = scheduler.next(now: .now(), into: &batch)
      if !batch.dropped.isEmpty || action == .run {
        let lane = action == .run ? lanes[batch.lane] : nil
        for call in batch.tickets { call._withUnsafeGuaranteedRef { $0.lane?.left($0.extent) } }
        for dropped in batch.dropped { dropped.ticket._withUnsafeGuaranteedRef { $0.lane?.left($0.extent) } }
        publishAll(now: .now())
        if action == .run, idle > 0, scheduler.hasWaiting { monitor.signal() }
        monitor.unlock()
        run(batch, lane, shard: shard, with: runner)
        monitor.lock()
        continue
      }
      idle += 1
      switch action {
      case .wait(let instant): monitor.wait(until: instant)
      case .run, .sleep: monitor.wait()
      }
      idle -= 1
    }
    threads -= 1
    monitor.signalAll()
    monitor.unlock()
  }

  /// Called without the lock.
  private func run(_ batch: WorkScheduler<Call>.Batch, _ lane: WorkerLane?, shard: Int, with runner: BatchRunner) {
    for dropped in batch.dropped {
      dropped.ticket._withUnsafeGuaranteedRef { $0.outcome = dropped.reason == .expired ? .expired : .shed }
    }
    runner.post(batch.dropped)
    guard let lane else { return }
    let nanoseconds = runner.run(batch.tickets, lane, lane.model.workspaces[shard])
    // The batch is finished before its answers are posted: the loop that they wake may release the lane.
    monitor.lock()
    scheduler.finish(lane: lane.index, units: batch.extent.units, nanoseconds: nanoseconds, now: .now())
    lane.ran(units: batch.extent.units, nanoseconds: nanoseconds)
    publishAll(now: .now())
    monitor.unlock()
    runner.post(batch.tickets)
  }
}

extension WorkScheduler where Ticket == Unmanaged<QueuedCall> {
  fileprivate mutating func enqueue(_ ticket: Ticket, of call: QueuedCall, now: Instant) -> Bool {
    guard let lane = call.lane else { preconditionFailure("a call was submitted without a lane") }
    return enqueue(
      ticket, lane: lane.index, extent: call.extent, priority: call.priority, deadline: call.deadline, now: now)
  }
}
