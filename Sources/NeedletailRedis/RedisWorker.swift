internal import NeedletailCore
internal import NeedletailSystem
internal import Synchronization

/// A thread that asks a Redis server what others want to know, one after the other, so that neither event loops nor
/// Swift's threads wait for a socket. Any thread may ask.
public final class RedisWorker: Sendable {
  /// - Parameter session: nil if its time is over, or the worker ends.
  private typealias Work = @Sendable (_ session: RedisSession?) -> Void

  private struct Ask {
    let deadline: Instant
    let work: Work
  }

  private struct State {
    var asks: [Ask] = []
    var isBusy = false
    var isStopped = false
  }

  private let client: RedisClient
  private let waitingMax: Int
  private let waitingMicroseconds: UInt64
  private let wakeup = Wakeup()
  private let state = Mutex(State())

  /// Starts the thread.
  ///
  /// - Parameters:
  ///   - waitingMax: asks that may wait.
  ///   - waitingMicroseconds: longest time from an ask to its turn.
  public init(
    _ client: RedisClient, name: String, niceness: Int32 = 0, waitingMax: Int, waitingMicroseconds: UInt64
  ) {
    self.client = client
    self.waitingMax = waitingMax
    self.waitingMicroseconds = waitingMicroseconds
    NativeThread.start(name: name, niceness: niceness) { [self] in work() }
  }

  /// Asks that wait or are being answered.
  public var load: Int { state.withLock { $0.asks.count + ($0.isBusy ? 1 : 0) } }

  /// Runs `body` on the worker's thread.
  /// - Throws: `.unreachable` also where too many wait, or its turn does not come in time.
  public func ask<Value: Sendable>(
    _ body: @escaping @Sendable (RedisConnection) throws(RedisError) -> Value
  ) async throws(RedisError) -> Value {
    let result: Result<Value, RedisError> = await withCheckedContinuation { continuation in
      add { continuation.resume(returning: Self.perform($0, body)) }
    }
    return try result.get()
  }

  /// Runs `body` on the worker's thread, and blocks the calling thread until it has ended.
  public func askAndWait<Value: Sendable>(
    _ body: @escaping @Sendable (RedisConnection) throws(RedisError) -> Value
  ) throws(RedisError) -> Value {
    let answer = Answer<Value>()
    add { answer.set(Self.perform($0, body)) }
    return try answer.wait().get()
  }

  /// Ends the thread as soon as it has answered what it is busy with.
  public func stop() {
    state.withLock { $0.isStopped = true }
    wakeup.signal()
  }

  private static func perform<Value>(
    _ session: RedisSession?, _ body: (RedisConnection) throws(RedisError) -> Value
  ) -> Result<Value, RedisError> {
    guard let session else {
      return .failure(RedisError(.unreachable, "redis: expected an answer in time, found too many questions before it"))
    }
    return Result { () throws(RedisError) in try session.perform(body) }
  }

  private func add(_ work: @escaping Work) {
    let ask = Ask(deadline: Instant.now().advanced(byMicroseconds: waitingMicroseconds), work: work)
    let isTaken = state.withLock { state in
      guard !state.isStopped, state.asks.count < waitingMax else { return false }
      state.asks.append(ask)
      return true
    }
    if isTaken { wakeup.signal() } else { work(nil) }
  }

  private func work() {
    let session = RedisSession(client)
    while true {
      let (ask, isStopped) = state.withLock { state -> (Ask?, Bool) in
        let ask = state.asks.isEmpty ? nil : state.asks.removeFirst()
        state.isBusy = ask != nil
        return (ask, state.isStopped)
      }
      if let ask {
        ask.work(isStopped || Instant.now() > ask.deadline ? nil : session)
      } else if isStopped {
        return
      } else {
        wakeup.wait()
      }
    }
  }

  /// An answer on its way to a thread that waits for it.
  private final class Answer<Value: Sendable>: Sendable {
    private let result = Mutex(Result<Value, RedisError>?.none)
    private let ended = Wakeup()

    func set(_ result: Result<Value, RedisError>) {
      self.result.withLock { $0 = result }
      ended.signal()
    }

    func wait() -> Result<Value, RedisError> {
      while true {
        if let result = result.withLock({ $0 }) { return result }
        ended.wait()
      }
    }
  }
}
