internal import NeedletailClient
internal import NeedletailCore
internal import NeedletailSystem
internal import NeedletailTLS
internal import Synchronization

/// The state of a run while it goes on.
public struct LoadProgress: Sendable {
  public enum Phase: Sendable {
    case warmingUp
    case measuring
    /// No request is sent any more; answers are waited for.
    case draining
  }

  public var phase: Phase
  /// Time since the first request.
  public var elapsed: Duration
  /// Length of ``interval`` in seconds.
  public var intervalSeconds: Double
  /// Figures since the last report.
  public var interval: LoadStatistics
}

/// Runs a plan on threads of its own.
public struct LoadGenerator: Sendable {
  private let plan: LoadPlan

  /// Time for the threads to connect, so that the schedule does not begin with a backlog.
  private static let settleNanoseconds: UInt64 = 50_000_000
  /// Longest time that answers are waited for after the last request.
  private static let drainNanosecondsMax: UInt64 = 10_000_000_000

  public init(_ plan: LoadPlan) { self.plan = plan }

  /// Runs the plan to its end. A cancelled task still waits for its threads.
  ///
  /// - Parameters:
  ///   - every: time between two calls of `progress`, which the caller's task makes.
  /// - Returns: the figures of the measured time.
  /// - Throws: where the target's name cannot be resolved, or a certificate cannot be read.
  public func run(every: Duration, progress: (LoadProgress) -> Void) async throws(LoadError) -> LoadStatistics {
    let address = try SocketAddress(plan.target)
    let tls = try plan.tlsSettings()
    let start = Instant.now().nanoseconds + Self.settleNanoseconds
    let measure = start + plan.warmup.wholeNanoseconds
    let end = measure + plan.duration.wholeNanoseconds
    let times = LoadThread.Times(
      start: start, measure: measure, end: end,
      drained: end + min(plan.timeout.wholeNanoseconds, Self.drainNanosecondsMax) + 500_000_000)
    let mailbox = Mailbox(threads: plan.threads)
    for index in 0..<plan.threads {
      NativeThread.start(name: "load-\(index)") { [plan] in
        var load = LoadThread(plan, address: address, tls: tls, times: times, index: index)
        load.run(mailbox)
        mailbox.leave()
      }
    }
    var total = LoadStatistics()
    var last = start
    var nextReport = start + every.wholeNanoseconds
    var interval = LoadStatistics()
    while true {
      let isDone = mailbox.isEmpty
      let fresh = mailbox.take()
      interval.merge(fresh)
      total.merge(fresh)
      let now = Instant.now().nanoseconds
      if isDone { break }
      if now >= nextReport {
        let phase: LoadProgress.Phase = now < measure ? .warmingUp : now < end ? .measuring : .draining
        progress(
          LoadProgress(
            phase: phase, elapsed: .nanoseconds(Int64(clamping: now - start)),
            intervalSeconds: Double(now - last) * 1e-9, interval: interval))
        interval = LoadStatistics()
        last = now
        nextReport = now + every.wholeNanoseconds
      }
      try? await Task.sleep(for: .milliseconds(20))
    }
    return total
  }
}

extension LoadPlan {
  /// Settings of TLS for all connections of a run, read once.
  fileprivate func tlsSettings() throws(LoadError) -> TLSSession.Role? {
    guard let tls, case .tcp(let host, _) = target else { return nil }
    do throws(ClientError) {
      return try tls.role(for: host)
    } catch {
      throw LoadError(error.message)
    }
  }
}

/// The place where threads put their figures and the caller takes them.
private final class Mailbox: StatisticsSink, Sendable {
  private struct State {
    var statistics = LoadStatistics()
    var threads: Int
  }

  private let state: Mutex<State>

  init(threads: Int) { state = Mutex(State(threads: threads)) }

  func add(_ statistics: LoadStatistics) { state.withLock { $0.statistics.merge(statistics) } }

  func leave() { state.withLock { $0.threads -= 1 } }

  var isEmpty: Bool { state.withLock { $0.threads == 0 } }

  func take() -> LoadStatistics {
    state.withLock { state in
      let taken = state.statistics
      state.statistics = LoadStatistics()
      return taken
    }
  }
}
