internal import NeedletailCore
internal import Synchronization

/// Where the control loop posts what it did, and where others read it, wait for it or follow it.
final class StatusBoard: Sendable {
  /// - Parameters:
  ///   - status: as posted last.
  ///   - settledRequest: the last requested scan of which everything has been dealt with.
  typealias Condition = @Sendable (_ status: StoreStatus, _ settledRequest: UInt64) -> Bool

  private struct Waiter {
    let condition: Condition
    let continuation: CheckedContinuation<Void, any Error>
  }

  private struct State {
    var status = StoreStatus()
    var settledRequest: UInt64 = 0
    var isClosed = false
    var waiters: [UInt64: Waiter] = [:]
    var followers: [UInt64: AsyncStream<LifecycleEvent>.Continuation] = [:]
    var lastID: UInt64 = 0

    mutating func nextID() -> UInt64 {
      lastID += 1
      return lastID
    }
  }

  /// Events kept for a follower that does not read; the oldest are dropped first.
  private static let eventsMax = 4096

  private let state = Mutex(State())

  var status: StoreStatus { state.withLock { $0.status } }

  /// Replaces what was posted and resumes all who waited for it.
  /// - Parameter settledRequest: the last scan of which everything has been dealt with; nil: none since the last post.
  func post(_ status: StoreStatus, settledRequest: UInt64?) {
    let resumed = state.withLock { state in
      state.status = status
      if let settledRequest { state.settledRequest = settledRequest }
      let met = state.waiters.filter { $0.value.condition(status, state.settledRequest) }
      for id in met.keys { state.waiters[id] = nil }
      return met.values.map(\.continuation)
    }
    for continuation in resumed { continuation.resume() }
  }

  func post(_ event: LifecycleEvent) {
    let followers = state.withLock { Array($0.followers.values) }
    for follower in followers { follower.yield(event) }
  }

  func events() -> AsyncStream<LifecycleEvent> {
    let (stream, continuation) = AsyncStream.makeStream(
      of: LifecycleEvent.self, bufferingPolicy: .bufferingNewest(Self.eventsMax))
    let id: UInt64? = state.withLock { state in
      guard !state.isClosed else { return nil }
      let id = state.nextID()
      state.followers[id] = continuation
      return id
    }
    guard let id else {
      continuation.finish()
      return stream
    }
    continuation.onTermination = { [weak self] _ in
      self?.state.withLock { $0.followers[id] = nil }
    }
    return stream
  }

  /// - Throws: `CancellationError`, also when the store stops before the condition holds.
  func wait(until condition: @escaping Condition) async throws {
    let id = state.withLock { $0.nextID() }
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
        let result: Result<Void, any Error>? = state.withLock { state in
          if condition(state.status, state.settledRequest) { return .success(()) }
          if state.isClosed || Task.isCancelled { return .failure(CancellationError()) }
          state.waiters[id] = Waiter(condition: condition, continuation: continuation)
          return nil
        }
        if let result { continuation.resume(with: result) }
      }
    } onCancel: {
      let waiter = state.withLock { $0.waiters.removeValue(forKey: id) }
      waiter?.continuation.resume(throwing: CancellationError())
    }
  }

  /// Ends every stream and every wait.
  func close() {
    let (waiters, followers) = state.withLock { state in
      state.isClosed = true
      defer {
        state.waiters = [:]
        state.followers = [:]
      }
      return (Array(state.waiters.values), Array(state.followers.values))
    }
    for waiter in waiters { waiter.continuation.resume(throwing: CancellationError()) }
    for follower in followers { follower.finish() }
  }
}
