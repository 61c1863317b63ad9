internal import NeedletailCore
internal import NeedletailEngine
public import NeedletailMetrics
internal import NeedletailModels
internal import NeedletailSystem
internal import Synchronization

/// Runs what nobody waits for, on one low-priority thread that all loops share: shadow versions, for no more than a
/// quarter of one processor's time, and live statistics of sampled rows. The thread starts with the first mailbox and
/// ends with the server. It sleeps while nothing is answered, and for some milliseconds after each round of work, so that
/// a busy server wakes it some hundred times a second, not with each batch.
public final class BackgroundRunner: Sendable {
  private let thread = BackgroundThread()
  private let metrics: MetricsRegistry
  /// All shadows have one budget of time together.
  private let shadowPause = BackgroundPause()

  public init(metrics: MetricsRegistry) { self.metrics = metrics }

  deinit { thread.stop() }

  /// Makes the place where one loop leaves batches of a version for the version that shadows it: once per loop and table.
  func mailbox(from shadowed: LiveModel, to shadow: LiveModel) -> BatchMailbox {
    let work = ShadowWork(shadowed, shadow: shadow, metrics: metrics)
    return added(BatchMailbox(shadowed.compiled.plan, work: work, pause: shadowPause))
  }

  /// Makes the place where one loop leaves batches of a version for its live statistics: once per loop and version.
  func mailbox(of model: LiveModel, _ watch: VersionWatch) -> BatchMailbox {
    let plan = model.compiled.plan
    return added(BatchMailbox(plan, work: WatchWork(plan, watch), pause: BackgroundPause()))
  }

  private func added(_ mailbox: BatchMailbox) -> BatchMailbox {
    thread.add(mailbox)
    return mailbox
  }

  /// Whether every mailbox is prepared.
  var isPrepared: Bool { thread.isPrepared }

  /// Wakes the thread because a mailbox was filled or closed.
  func wake() { thread.signal() }
}

/// State of the thread. It does not refer to the runner, whose end stops the thread.
private final class BackgroundThread: Sendable {
  private struct State {
    var mailboxes: [BatchMailbox] = []
    var isStarted = false
    var isStopped = false
  }

  private let state = Mutex(State())
  private let wakeup = Wakeup()

  var isPrepared: Bool { state.withLock { $0.mailboxes.allSatisfy(\.isPrepared) } }

  func add(_ mailbox: BatchMailbox) {
    let isFirst = state.withLock { state in
      state.mailboxes.append(mailbox)
      defer { state.isStarted = true }
      return !state.isStarted
    }
    if isFirst { NativeThread.start(name: "nt-background", niceness: 10) { [self] in run() } }
    signal()
  }

  func signal() { wakeup.signal() }

  func stop() {
    state.withLock { $0.isStopped = true }
    signal()
  }

  private func run() {
    // A full mailbox whose pause has not ended; nil: there is none.
    var nextEnd: Instant?
    var turn = 0
    while true {
      wakeup.wait(until: nextEnd)
      var closed: [BatchMailbox] = []
      let mailboxes: [BatchMailbox]? = state.withLock { state in
        let firstClosed = state.mailboxes.partition(by: \.isClosed)
        closed = Array(state.mailboxes[firstClosed...])
        state.mailboxes.removeSubrange(firstClosed...)
        return state.isStopped ? nil : state.mailboxes
      }
      // Freed outside of the lock, which a loop takes for a new mailbox, and not before the loop has let go of it.
      while !closed.isEmpty {
        var mailbox = closed.popLast()
        NativeThread.dropLast(&mailbox)
      }
      guard let mailboxes else { return }
      for mailbox in mailboxes where !mailbox.isPrepared { mailbox.prepare() }
      nextEnd = nil
      var didWork = false
      // Another one is first each time: mailboxes that share a pause take turns.
      turn &+= 1
      for index in mailboxes.indices {
        let mailbox = mailboxes[(index + turn) % mailboxes.count]
        guard mailbox.isFull else { continue }
        if mailbox.pause.end <= Instant.now() {
          mailbox.deal()
          didWork = true
        } else {
          nextEnd = min(nextEnd ?? mailbox.pause.end, mailbox.pause.end)
        }
      }
      // Not a wait for the next batch, which would end with it: the signals that come meanwhile are one.
      if didWork { NativeThread.sleep(microseconds: UInt32(Limits.backgroundRoundPauseMicroseconds)) }
    }
  }
}
