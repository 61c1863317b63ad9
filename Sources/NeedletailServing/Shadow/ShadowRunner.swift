internal import Glibc
internal import NeedletailCore
public import NeedletailMetrics
public import NeedletailModels
internal import NeedletailSystem
internal import Synchronization

/// Runs shadow versions on a low-priority thread of its own, shared by all loops, for no more than a quarter of one
/// processor's time. The thread starts with the first shadow and ends with the server.
public final class ShadowRunner: Sendable {
  private let work: ShadowWork

  public init(metrics: MetricsRegistry) { work = ShadowWork(metrics) }

  deinit { work.stop() }

  /// Makes a mailbox between two versions, for one loop: once per loop and table. The thread prepares it.
  func mailbox(from shadowed: LiveModel, to shadow: LiveModel) -> ShadowMailbox {
    let mailbox = ShadowMailbox(shadowed, shadow: shadow)
    work.add(mailbox)
    return mailbox
  }

  /// Whether every mailbox is prepared.
  var isPrepared: Bool { work.isPrepared }

  /// Wakes the thread because a mailbox was filled or closed.
  func wake() { work.signal() }
}

/// State of the thread. It does not refer to the runner, whose end stops the thread.
private final class ShadowWork: Sendable {
  private struct State {
    var mailboxes: [ShadowMailbox] = []
    var isStarted = false
    var isStopped = false
  }

  private let metrics: MetricsRegistry
  private let state = Mutex(State())
  private let wakeup = Wakeup()

  init(_ metrics: MetricsRegistry) { self.metrics = metrics }

  var isPrepared: Bool { state.withLock { $0.mailboxes.allSatisfy(\.isPrepared) } }

  func add(_ mailbox: ShadowMailbox) {
    let isFirst = state.withLock { state in
      state.mailboxes.append(mailbox)
      defer { state.isStarted = true }
      return !state.isStarted
    }
    if isFirst { NativeThread.start(name: "nt-shadow", niceness: 10) { [self] in run() } }
    signal()
  }

  func signal() { wakeup.signal() }

  func stop() {
    state.withLock { $0.isStopped = true }
    signal()
  }

  private func run() {
    while true {
      wakeup.wait()
      var closed: [ShadowMailbox] = []
      let mailboxes: [ShadowMailbox]? = state.withLock { state in
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
      for mailbox in mailboxes where !mailbox.isPrepared { mailbox.prepare(metrics) }
      for mailbox in mailboxes {
        guard let microseconds = mailbox.work() else { continue }
        // The thread sleeps for the rest of the time; batches that come meanwhile are left out and counted.
        let pause =
          UInt64(microseconds) * UInt64(100 - Limits.shadowProcessorPercent)
          / UInt64(Limits.shadowProcessorPercent)
        usleep(UInt32(min(pause, UInt64(Limits.shadowPauseMicrosecondsMax))))
      }
    }
  }
}

/// Metrics of one shadow version. Asking for the same version again gives the same series.
public struct ShadowCounters: Sendable {
  /// Rows compared.
  public let rows: Counter
  /// Rows with another class.
  public let flips: Counter
  /// Numbers that were NaN or infinite.
  public let nonFinite: Counter
  /// Rows left out because an earlier batch was not done, or was too large.
  public let busy: Counter
  /// Rows left out because the versions take different features.
  public let incompatible: Counter
  /// The largest absolute difference of two numbers.
  public let maxDifference: Gauge
  public let compute: Histogram

  public init(_ version: LiveModel, metrics: MetricsRegistry) {
    let labels = [("model", version.model.name), ("version", version.version.description)]
    rows = metrics.counter(
      "needletail_shadow_rows_total", help: "Rows that a shadow version computed and that were compared.",
      labels: labels)
    flips = metrics.counter(
      "needletail_shadow_class_flips_total", help: "Rows for which a shadow version named another class.",
      labels: labels)
    nonFinite = metrics.counter(
      "needletail_shadow_nan_outputs_total", help: "Numbers of a shadow version that were NaN or infinite.",
      labels: labels)
    func skipped(_ reason: String) -> Counter {
      metrics.counter(
        "needletail_shadow_rows_skipped_total", help: "Rows that a shadow version was not given, by reason.",
        labels: labels + [("reason", reason)])
    }
    busy = skipped("busy")
    incompatible = skipped("features")
    maxDifference = metrics.gauge(
      "needletail_shadow_max_difference", help: "Largest absolute difference to the answer of the version compared.",
      labels: labels)
    compute = metrics.histogram(
      "needletail_shadow_compute_seconds", help: "How long a shadow version computed a batch.", labels: labels)
  }

  /// Called by the shadow thread only.
  func add(_ result: ShadowComparison.Result, rows count: Int) {
    rows.add(UInt64(count))
    if result.flips > 0 { flips.add(UInt64(result.flips)) }
    if result.nonFinite > 0 { nonFinite.add(UInt64(result.nonFinite)) }
    if Double(result.maxDifference) > maxDifference.value { maxDifference.set(Double(result.maxDifference)) }
  }
}
