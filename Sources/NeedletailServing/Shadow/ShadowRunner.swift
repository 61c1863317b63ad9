internal import Dispatch
internal import NeedletailCore
public import NeedletailMetrics
internal import NeedletailModels
internal import NeedletailSystem
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// Runs shadow versions on a low-priority thread of its own, shared by all loops, for no more than a
/// quarter of one processor's time. The thread starts with the first shadow and ends with the server.
public final class ShadowRunner: Sendable {
  private let metrics: MetricsRegistry
  private let work: ShadowWork

  public init(metrics: MetricsRegistry) {
    self.metrics = metrics
    work = ShadowWork()
  }

  deinit { work.stop() }

  /// A mailbox between two versions, for one loop. Takes a lock and allocates: once per loop and table.
  /// - Returns: nil where the two take different features.
  func mailbox(from shadowed: LiveModel, to shadow: LiveModel) -> ShadowMailbox? {
    let counters = ShadowCounters(shadow, metrics: metrics)
    guard let mailbox = ShadowMailbox(shadowed, shadow: shadow, counters: counters) else { return nil }
    work.add(mailbox)
    return mailbox
  }

  func counters(of shadow: LiveModel) -> ShadowCounters { ShadowCounters(shadow, metrics: metrics) }

  /// Something lies in a mailbox, or one was closed.
  func wake() { work.signal() }
}

/// What the thread knows: not the runner, so that the runner can go and stop it.
private final class ShadowWork: Sendable {
  private struct State {
    var mailboxes: [ShadowMailbox] = []
    var isStarted = false
    var isStopped = false
  }

  private let state = Mutex(State())
  private let semaphore = DispatchSemaphore(value: 0)

  func add(_ mailbox: ShadowMailbox) {
    let isFirst = state.withLock { state in
      state.mailboxes.append(mailbox)
      defer { state.isStarted = true }
      return !state.isStarted
    }
    if isFirst { NativeThread.start(name: "nt-shadow", niceness: 10) { [self] in run() } }
  }

  func signal() { semaphore.signal() }

  func stop() {
    state.withLock { $0.isStopped = true }
    signal()
  }

  private func run() {
    while true {
      semaphore.wait()
      let mailboxes: [ShadowMailbox]? = state.withLock { state in
        state.mailboxes.removeAll(where: \.isClosed)
        return state.isStopped ? nil : state.mailboxes
      }
      guard let mailboxes else { return }
      for mailbox in mailboxes {
        guard let microseconds = mailbox.work() else { continue }
        // The rest of its share is pause: what comes meanwhile is left out and counted.
        let pause =
          UInt64(microseconds) * UInt64(100 - Limits.shadowProcessorPercent)
          / UInt64(Limits.shadowProcessorPercent)
        usleep(UInt32(min(pause, UInt64(Limits.shadowPauseMicrosecondsMax))))
      }
    }
  }
}
