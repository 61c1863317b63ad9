internal import Glibc
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

/// The address of a server, resolved once.
struct SocketAddress: Sendable {
  private let bytes: [UInt8]
  private let family: Int32

  init(_ target: LoadTarget) throws(LoadError) {
    switch target {
    case .unix(let path):
      var address = sockaddr_un()
      address.sun_family = sa_family_t(AF_UNIX)
      let room = MemoryLayout.size(ofValue: address.sun_path)
      guard path.utf8.count < room else {
        throw LoadError("socket path: expected at most \(room - 1) bytes, found \(path.utf8.count)")
      }
      withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
      bytes = withUnsafeBytes(of: address) { Array($0) }
      family = AF_UNIX
    case .tcp(let host, let port):
      var hints = addrinfo()
      hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
      var found: UnsafeMutablePointer<addrinfo>?
      let code = getaddrinfo(host, String(port), &hints, &found)
      guard code == 0, let first = found?.pointee, let address = first.ai_addr else {
        throw LoadError("host \(host): \(String(cString: gai_strerror(code)).lowercased())")
      }
      bytes = Array(UnsafeRawBufferPointer(start: address, count: Int(first.ai_addrlen)))
      family = first.ai_family
      freeaddrinfo(found)
    }
  }

  /// Opens a socket that connects in the background.
  /// - Returns: its descriptor, or -1 if the attempt failed at once.
  func connect() -> Int32 {
    let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    let descriptor = socket(family, type, 0)
    guard descriptor >= 0 else { return -1 }
    var one: Int32 = 1
    if family != AF_UNIX { setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(4)) }
    let code = bytes.withUnsafeBytes { raw in
      raw.baseAddress.map {
        Glibc.connect(descriptor, $0.assumingMemoryBound(to: sockaddr.self), socklen_t(raw.count))
      } ?? -1
    }
    // A Unix socket whose backlog is full says EAGAIN and is not connecting.
    guard code == 0 || errno == EINPROGRESS else {
      _ = close(descriptor)
      return -1
    }
    return descriptor
  }

  static func isConnected(_ descriptor: Int32) -> Bool {
    var failure: Int32 = 0
    var length = socklen_t(4)
    return getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &failure, &length) == 0 && failure == 0
  }
}
