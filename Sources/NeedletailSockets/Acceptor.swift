internal import Glibc
internal import NeedletailCore
public import NeedletailSystem

/// A thread that takes connections from listening sockets and hands them on.
///
/// The thread is its own, so that a storm of connections does not hold up calls on connections that stand. When there
/// are no descriptors or no memory it leaves the sockets alone for a moment: the poller would report each as ready
/// again at once.
///
/// `@unchecked Sendable`: mutable state is touched on its thread only; other threads leave tasks in `inbox`.
public final class Acceptor: @unchecked Sendable {
  /// Takes a connection's descriptor, which it owns from now on. Called on the acceptor's thread.
  public typealias Accepted = @Sendable (_ connection: Int32) -> Void
  /// Learns that no connection can be taken for now, after every attempt.
  /// - Parameter inRow: number of attempts that have failed in a row.
  public typealias Failed = @Sendable (_ error: SystemError, _ inRow: Int) -> Void

  private struct Port {
    let socket: ListeningSocket
    let accepted: Accepted
  }

  private static let inboxToken = UInt64.max
  /// Most connections taken from one socket before others have their turn.
  private static let burst = 64

  private let poller: Poller
  private let inbox: Inbox
  private let failed: Failed
  private var ports: [Port] = []
  private var failuresInRow = 0
  /// Time at which the sockets are watched again after a failure; nil: they are watched.
  private var resumes: Instant?
  private var isStopped = false

  /// - Throws: if there are no descriptors left.
  public init(failed: @escaping Failed) throws(SystemError) {
    poller = try Poller()
    inbox = try Inbox()
    self.failed = failed
    try inbox.attach(to: poller, token: Self.inboxToken)
  }

  /// Takes connections on the calling thread, until ``stop()``.
  public func run() {
    var tasks: [Inbox.Task] = []
    while !isStopped {
      let events = wait()
      if inbox.awake() {
        inbox.take(into: &tasks)
        for task in tasks { task() }
      }
      for index in 0..<events {
        let token = poller.event(index).token
        if token < ports.count, resumes == nil { accept(from: ports[Int(token)], atMost: Self.burst) }
      }
      if let due = resumes, Instant.now() >= due { watch(true) }
    }
  }

  private func wait() -> Int {
    guard inbox.sleep() else { return poller.look() }
    guard let resumes else { return poller.wait() }
    let now = Instant.now()
    return poller.wait(nanoseconds: resumes > now ? resumes.nanoseconds - now.nanoseconds : 0)
  }

  /// - Returns: whether there may be more.
  @discardableResult
  private func accept(from port: Port, atMost count: Int) -> Bool {
    do throws(SystemError) {
      for _ in 0..<count {
        guard let connection = try port.socket.accept() else { return false }
        failuresInRow = 0
        port.accepted(connection)
      }
      return true
    } catch {
      failuresInRow += 1
      failed(error, failuresInRow)
      watch(false)
      return false
    }
  }

  private func watch(_ isWatched: Bool) {
    resumes = isWatched ? nil : Instant.now().advanced(byMicroseconds: UInt64(Limits.acceptPauseMilliseconds) * 1000)
    for (index, port) in ports.enumerated() {
      poller.modify(port.socket.descriptor, token: UInt64(index), wantsBytes: isWatched, wantsRoom: false)
    }
  }

  // MARK: from any thread

  /// Takes connections from a socket, which the acceptor owns from now on.
  public func listen(_ socket: ListeningSocket, accepted: @escaping Accepted) {
    inbox.post { [self] in
      do throws(SystemError) {
        try poller.add(socket.descriptor, token: UInt64(ports.count))
        ports.append(Port(socket: socket, accepted: accepted))
      } catch {
        failed(error, 1)
        socket.close()
      }
    }
  }

  /// Takes the connections that the kernel has accepted, then closes the sockets.
  ///
  /// Clients may have sent a call on them already: when a socket closes, the kernel resets the connections that it
  /// still holds. If ever more come, this gives up after ``Limits/acceptDrainMilliseconds``.
  public func drain() async {
    await withCheckedContinuation { continuation in
      inbox.post { [self] in
        let limit = Instant.now().advanced(byMicroseconds: UInt64(Limits.acceptDrainMilliseconds) * 1000)
        for port in ports {
          while accept(from: port, atMost: Self.burst), Instant.now() < limit {}
          port.socket.close()
        }
        ports = []
        resumes = nil
        continuation.resume()
      }
    }
  }

  /// Closes the sockets, and lets ``run()`` return.
  public func stop() {
    inbox.post { [self] in
      for port in ports { port.socket.close() }
      ports = []
      isStopped = true
    }
  }
}
