public import NeedletailCore
internal import Synchronization

/// A Redis server as several threads use it: where it is, how one logs in, and whether it works. Any thread.
public final class RedisClient: Sendable {
  /// What is reported of the server.
  public enum Event: Sendable {
    case up
    /// - Parameter sentence: what went wrong.
    case down(String)
    /// It refused a command, for the first time in a minute.
    case refused(String)
  }

  public let location: RedisLocation
  private let milliseconds: Int
  private let password: @Sendable () throws(RedisError) -> String?
  private let report: @Sendable (Event) -> Void
  private let health = Mutex(RedisHealth())
  private let refused = Mutex(Instant?.none)

  private static let refusalSeconds: UInt64 = 60
  /// Errors with which a server refuses all commands, so that it is as good as gone.
  private static let outages = ["LOADING", "NOAUTH", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "MOVED"]

  /// - Parameters:
  ///   - milliseconds: limit of a connection, and of each of its reads and writes.
  ///   - password: asked for before each connection.
  ///   - report: called on the threads of workers.
  public init(
    _ location: RedisLocation, milliseconds: Int, password: @escaping @Sendable () throws(RedisError) -> String?,
    report: @escaping @Sendable (Event) -> Void
  ) {
    self.location = location
    self.milliseconds = milliseconds
    self.password = password
    self.report = report
  }

  public var isUp: Bool { health.withLock { $0.isUp } }

  /// Time of the next probe; nil: none is needed.
  public var retry: Instant? { health.withLock { $0.retry } }

  var mayAsk: Bool { health.withLock { $0.mayAsk } }

  func connect() throws(RedisError) -> RedisConnection {
    do throws(RedisError) {
      return try RedisConnection(to: location, password: password(), milliseconds: milliseconds)
    } catch {
      // One that lets nobody in is of as little use as one that is not there.
      throw RedisError(.unreachable, error.description)
    }
  }

  func succeeded() {
    if health.withLock({ $0.succeeded() }) == .up { report(.up) }
  }

  func failed(_ error: RedisError) {
    let isOutage = error.reason == .unreachable || Self.outages.contains { error.description.hasPrefix($0) }
    let now = Instant.now()
    if isOutage {
      if health.withLock({ $0.failed(now: now) }) == .down { report(.down(error.description)) }
    } else {
      let isNew = refused.withLock { last in
        if let last, now < last.advanced(byMicroseconds: Self.refusalSeconds * 1_000_000) { return false }
        last = now
        return true
      }
      if isNew { report(.refused(error.description)) }
    }
  }
}

/// One thread's way to a server: a connection that is made when it is needed, and again after it failed. Confined to its
/// thread.
public final class RedisSession {
  private let client: RedisClient
  private var connection: RedisConnection?

  public init(_ client: RedisClient) { self.client = client }

  /// Runs `body` with a connection.
  ///
  /// - Parameter isProbe: whether it asks a server, too, that is known to be down.
  /// - Throws: `.unreachable` at once while the server is down.
  public func perform<Value>(
    isProbe: Bool = false, _ body: (RedisConnection) throws(RedisError) -> Value
  ) throws(RedisError) -> Value {
    guard isProbe || client.mayAsk else {
      connection = nil
      throw RedisError(.unreachable, "\(client.location): expected a server that answers, found none")
    }
    // A server that was restarted, or that ends connections without work, has closed this one: no failure.
    if connection?.isStale == true { connection = nil }
    do throws(RedisError) {
      let connection = try open()
      let value = try body(connection)
      client.succeeded()
      return value
    } catch {
      if error.reason != .refused { connection = nil }
      client.failed(error)
      throw error
    }
  }

  private func open() throws(RedisError) -> RedisConnection {
    if let connection { return connection }
    let made = try client.connect()
    connection = made
    return made
  }
}
