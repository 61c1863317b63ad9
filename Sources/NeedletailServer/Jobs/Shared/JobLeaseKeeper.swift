internal import NeedletailCore
internal import NeedletailRedis
internal import NeedletailSystem
internal import Synchronization

/// The job that a server runs, as Redis knows it.
struct JobLease: Sendable {
  let id: JobID
  /// Word that tells this run of the job from any other, also of the same server.
  let owner: String
  let progress: JobProgress
}

/// The thread that renews the lease of the job that runs, tells Redis how far it is, hears that it was cancelled, and tries
/// a server again that has failed. Apart from the thread that runs jobs, which may not get a processor for long.
final class JobLeaseKeeper: Sendable {
  private struct State {
    var lease: JobLease?
    /// Time of the next renewal.
    var next = Instant.now()
    /// Whether jobs are to be run by other servers, from now on.
    var isGivingBack = false
    var isStopped = false
    var whenStopped: (@Sendable () -> Void)?
  }

  private let client: RedisClient
  private let scripts: JobScriptRunner
  private let leaseMilliseconds: Int
  private let onRenewal: @Sendable () -> Void
  private let wakeup: Wakeup
  private let state = Mutex(State())

  /// - Parameters:
  ///   - wakeup: to be signalled when the health of the server has changed.
  ///   - onRenewal: called on the thread after each renewal, and when the lease was lost.
  init(
    _ client: RedisClient, _ scripts: JobScriptRunner, _ wakeup: Wakeup, leaseMilliseconds: Int,
    onRenewal: @escaping @Sendable () -> Void
  ) {
    self.client = client
    self.scripts = scripts
    self.wakeup = wakeup
    self.leaseMilliseconds = leaseMilliseconds
    self.onRenewal = onRenewal
  }

  func start() { NativeThread.start(name: "nt-jobs-lease") { [self] in run() } }

  // MARK: any thread

  /// The job that this server has got to run.
  var lease: JobLease? { state.withLock { $0.lease } }

  /// - Parameter asked: time before which Redis cannot have begun to count the lease.
  func begin(_ lease: JobLease, asked: Instant) {
    extend(lease, from: asked)
    state.withLock { state in
      state.lease = lease
      state.next = asked.advanced(byMicroseconds: renewalMicroseconds)
    }
    wakeup.signal()
  }

  /// Lets go of a lease: the job has ended, or another server shall begin it when its time is over.
  func end(_ lease: JobLease) {
    state.withLock { state in if state.lease?.owner == lease.owner { state.lease = nil } }
  }

  /// Gives the job that runs, and any that begins later, to other servers.
  func giveBack() {
    state.withLock { $0.isGivingBack = true }
    wakeup.signal()
  }

  /// Ends the thread, once what is to be given back was.
  func stop() async {
    await withCheckedContinuation { continuation in
      let isLate = state.withLock { state in
        defer { state.isStopped = true }
        if state.isStopped { return true }
        state.whenStopped = { continuation.resume() }
        return false
      }
      if isLate { continuation.resume() }
      wakeup.signal()
    }
  }

  // MARK: the thread

  private var renewalMicroseconds: UInt64 {
    min(UInt64(leaseMilliseconds) * 1000 / 3, Limits.jobRenewalMicroseconds)
  }

  private func extend(_ lease: JobLease, from asked: Instant) {
    let end = asked.advanced(byMicroseconds: UInt64(leaseMilliseconds) * 1000)
    lease.progress.leaseEnd.store(end.nanoseconds, ordering: .relaxed)
  }

  private func run() {
    let session = RedisSession(client)
    var isAsked = false
    while true {
      let (lease, next, isGivingBack, isStopped, whenStopped) = state.withLock {
        ($0.lease, $0.next, $0.isGivingBack, $0.isStopped, $0.whenStopped)
      }
      if let lease, isGivingBack {
        giveBack(lease, session)
        continue
      }
      if isStopped {
        whenStopped?()
        return
      }
      let now = Instant.now()
      if let retry = client.retry {
        if now >= retry { probe(lease, session) } else { wakeup.wait(until: retry) }
      } else if !isAsked {
        isAsked = true
        probe(nil, session)
      } else if let lease {
        if now >= next { renew(lease, session) } else { wakeup.wait(until: next) }
      } else {
        wakeup.wait()
      }
    }
  }

  /// Asks a server that has failed, or that nobody has asked yet.
  private func probe(_ lease: JobLease?, _ session: RedisSession) {
    if let lease { return renew(lease, session) }
    // What comes of it is noted where connections are.
    _ = try? session.perform(isProbe: true) { (connection) throws(RedisError) in try connection.command([.text("PING")])
    }
  }

  private func renew(_ lease: JobLease, _ session: RedisSession) {
    let asked = Instant.now()
    state.withLock { $0.next = asked.advanced(byMicroseconds: renewalMicroseconds) }
    let progress = lease.progress
    let reply: JobReply
    do throws(RedisError) {
      reply = try session.perform(isProbe: true) { (connection) throws(RedisError) in
        try scripts.run(
          JobScripts.renew,
          [
            .text("\(lease.id)"), .text(lease.owner), .number(leaseMilliseconds),
            .text("\(progress.version.load(ordering: .relaxed))"), .number(progress.rows.load(ordering: .relaxed)),
            .number(progress.rowsDone.load(ordering: .relaxed)),
          ], connection)
      }
    } catch {
      return
    }
    if reply.verdict == "kept" {
      extend(lease, from: asked)
    } else {
      progress.isCancelled.store(true, ordering: .relaxed)
      end(lease)
    }
    onRenewal()
  }

  private func giveBack(_ lease: JobLease, _ session: RedisSession) {
    // Where Redis does not answer, the lease runs out by itself.
    _ = try? session.perform(isProbe: true) { (connection) throws(RedisError) in
      try scripts.run(JobScripts.giveBack, [.text("\(lease.id)"), .text(lease.owner)], connection)
    }
    lease.progress.isCancelled.store(true, ordering: .relaxed)
    end(lease)
    onRenewal()
  }
}
