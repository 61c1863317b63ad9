internal import Glibc
internal import NeedletailCore

/// A thread that takes connections from listening sockets and hands them on.
///
/// Of its own, so that a storm of connections does not hold up those that call. Out of descriptors or memory it
/// leaves the sockets alone for a moment: each would be told as ready again at once.
///
/// `@unchecked Sendable`: what is mutable is touched on its thread only; others leave what they want in `inbox`.
public final class Acceptor: @unchecked Sendable {
  /// What becomes of connections.
  public struct Handler: Sendable {
    /// Owns the descriptor from now on; `isTCP` tells which kind of socket it came to.
    var accepted: @Sendable (_ connection: Int32, _ isTCP: Bool) -> Void
    /// None can be taken for now; told of every attempt, with how many have failed in a row.
    var failed: @Sendable (_ error: SocketError, _ inRow: Int) -> Void

    public init(
      accepted: @escaping @Sendable (_ connection: Int32, _ isTCP: Bool) -> Void,
      failed: @escaping @Sendable (_ error: SocketError, _ inRow: Int) -> Void
    ) {
      self.accepted = accepted
      self.failed = failed
    }
  }

  private static let inboxToken = UInt64.max
  /// Taken from one socket before others have their turn.
  private static let burst = 64

  private let poller: Poller
  private let inbox: Inbox
  private let handler: Handler
  private var sockets: [ListeningSocket] = []
  private var failuresInRow = 0
  /// When the sockets are looked at again; nil: they are watched.
  private var resumes: Instant?
  private var isStopped = false

  /// - Throws: if there are no descriptors left.
  public init(_ handler: Handler) throws(SocketError) {
    poller = try Poller()
    inbox = try Inbox()
    self.handler = handler
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
        if token < sockets.count, resumes == nil { accept(from: sockets[Int(token)], atMost: Self.burst) }
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
  private func accept(from socket: ListeningSocket, atMost count: Int) -> Bool {
    do throws(SocketError) {
      for _ in 0..<count {
        guard let connection = try socket.accept() else { return false }
        failuresInRow = 0
        handler.accepted(connection, socket.isTCP)
      }
      return true
    } catch {
      failuresInRow += 1
      handler.failed(error, failuresInRow)
      watch(false)
      return false
    }
  }

  private func watch(_ isWatched: Bool) {
    resumes = isWatched ? nil : Instant.now().advanced(byMicroseconds: UInt64(Limits.acceptPauseMilliseconds) * 1000)
    for (index, socket) in sockets.enumerated() {
      poller.modify(socket.descriptor, token: UInt64(index), wantsBytes: isWatched, wantsRoom: false)
    }
  }

  // MARK: from any thread

  /// Takes connections from these sockets, which it owns from now on.
  public func listen(_ added: [ListeningSocket]) {
    inbox.post { [self] in
      for socket in added {
        do throws(SocketError) {
          try poller.add(socket.descriptor, token: UInt64(sockets.count))
          sockets.append(socket)
        } catch {
          handler.failed(error, 1)
          socket.close()
        }
      }
    }
  }

  /// Takes those whom the kernel has accepted, then closes the sockets.
  ///
  /// They may have sent a call already: when a socket closes, the kernel resets whom it still holds, without a
  /// word. While ever more come it gives up after ``Limits/acceptDrainMilliseconds``.
  public func drain() async {
    await withCheckedContinuation { continuation in
      inbox.post { [self] in
        let limit = Instant.now().advanced(byMicroseconds: UInt64(Limits.acceptDrainMilliseconds) * 1000)
        for socket in sockets {
          while accept(from: socket, atMost: Self.burst), Instant.now() < limit {}
          socket.close()
        }
        sockets = []
        resumes = nil
        continuation.resume()
      }
    }
  }

  /// Closes what is open, and lets ``run()`` return.
  public func stop() {
    inbox.post { [self] in
      for socket in sockets { socket.close() }
      sockets = []
      isStopped = true
    }
  }
}
