internal import CNeedletailSystem
internal import Glibc
public import NeedletailCore
internal import Synchronization

// Three ways to wake a thread, and when to use which:
//
// | the thread waits                                  | use            | a signal costs                                |
// |---------------------------------------------------|----------------|-----------------------------------------------|
// | for nothing but the signal                        | `Wakeup`       | an atomic exchange; a futex call if it sleeps |
// | for descriptors too (epoll or poll)               | `PollerWakeup` | an atomic exchange; a write if it sleeps      |
// | with others, for a change of state under one lock | `Monitor`      | a call of the condition variable              |
//
// Tasks wait with `AsyncStream` or a continuation instead: a task must not block its thread.

/// Wakes one thread that waits for nothing else. A signal is remembered until the thread waits; several signals before
/// that are one, so that the thread looks at everything it knows of after each wait.
///
/// Any thread may call ``signal()``, which never blocks and does not allocate; only one thread may call ``wait(until:)``.
///
/// `@unchecked Sendable`: the word is atomic and lives until `deinit`.
public final class Wakeup: @unchecked Sendable {
  private enum State {
    static let idle: UInt32 = 0
    static let signalled: UInt32 = 1
    static let sleeping: UInt32 = 2
  }

  /// Memory of its own: the futex needs an address that stays.
  private let word = UnsafeMutablePointer<Atomic<UInt32>>.allocate(capacity: 1)

  public init() { word.initialize(to: Atomic(State.idle)) }

  deinit {
    word.deinitialize(count: 1)
    word.deallocate()
  }

  /// Ends the thread's present or next wait.
  public func signal() {
    if word.pointee.exchange(State.signalled, ordering: .sequentiallyConsistent) == State.sleeping {
      nt_futex_wake(address, 1)
    }
  }

  /// Waits for a signal.
  ///
  /// - Parameter deadline: the latest end of the wait; nil: without limit.
  /// - Returns: false if the deadline came first.
  @discardableResult
  public func wait(until deadline: Instant? = nil) -> Bool {
    while true {
      // Fails if a signal is there already, or after a wake that was none.
      _ = change(State.idle, to: State.sleeping)
      if change(State.signalled, to: State.idle) { return true }
      nt_futex_wait(address, State.sleeping, deadline?.nanoseconds ?? .max)
      if change(State.signalled, to: State.idle) { return true }
      if let deadline, Instant.now() >= deadline, change(State.sleeping, to: State.idle) { return false }
    }
  }

  private func change(_ from: UInt32, to new: UInt32) -> Bool {
    word.pointee.compareExchange(expected: from, desired: new, ordering: .sequentiallyConsistent).exchanged
  }

  private var address: UnsafeMutablePointer<UInt32> {
    UnsafeMutableRawPointer(word).assumingMemoryBound(to: UInt32.self)
  }
}

/// Wakes one thread that waits for descriptors, by making one more of them readable.
///
/// A signal writes to the kernel only if the thread sleeps: a busy thread is not called away for what it looks at next
/// anyway. The thread asks ``mayBlock()`` before it waits and ``takeSignal()`` afterwards.
///
/// Any thread may call ``signal()``, which never blocks and does not allocate; the other calls are for the one thread
/// that waits.
public final class PollerWakeup: Sendable {
  private enum State {
    static let awake: UInt8 = 0
    static let asleep: UInt8 = 1
    static let signalled: UInt8 = 2
  }

  /// Readable after a signal that found the thread asleep. Watched edge-triggered it need not be read; a thread that
  /// uses poll(2) calls ``clear()``.
  public let descriptor: Int32
  private let state = Atomic(State.awake)

  /// - Throws: the reason of the kernel, where no descriptor is left.
  public init() throws(SystemError) {
    descriptor = try SystemError.check("eventfd") { nt_event_open() }
  }

  deinit { close(descriptor) }

  /// Ends the thread's present or next wait.
  public func signal() {
    if state.exchange(State.signalled, ordering: .sequentiallyConsistent) == State.asleep {
      nt_event_signal(descriptor)
    }
  }

  /// Announces that the thread is about to block.
  ///
  /// - Returns: false if a signal has come since ``takeSignal()``; then the thread must not block.
  public func mayBlock() -> Bool {
    state.compareExchange(expected: State.awake, desired: State.asleep, ordering: .sequentiallyConsistent).exchanged
  }

  /// Ends a wait, or looks without one.
  ///
  /// - Returns: whether a signal has come since the last call.
  public func takeSignal() -> Bool {
    state.exchange(State.awake, ordering: .sequentiallyConsistent) == State.signalled
  }

  /// Makes the descriptor unreadable again, for a poller that is not edge-triggered.
  public func clear() { nt_event_clear(descriptor) }
}

/// A lock, and a place where several threads wait for a change of what it protects. Waits use the monotonic clock, so
/// that a change of the wall clock does not prolong them.
///
/// `@unchecked Sendable`: both objects live in memory of their own and are made to be shared.
public final class Monitor: @unchecked Sendable {
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

  public init() {
    mutex.initialize(to: pthread_mutex_t())
    condition.initialize(to: pthread_cond_t())
    pthread_mutex_init(mutex, nil)
    var attributes = pthread_condattr_t()
    pthread_condattr_init(&attributes)
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
    pthread_cond_init(condition, &attributes)
    pthread_condattr_destroy(&attributes)
  }

  deinit {
    pthread_cond_destroy(condition)
    pthread_mutex_destroy(mutex)
    condition.deallocate()
    mutex.deallocate()
  }

  public func lock() { pthread_mutex_lock(mutex) }
  public func unlock() { pthread_mutex_unlock(mutex) }

  /// Waits for a signal without the lock, and returns with it. May return without a signal, so that the caller looks
  /// at its state again.
  ///
  /// - Parameter deadline: the latest end of the wait; nil: without limit.
  /// - Precondition: the caller holds the lock.
  public func wait(until deadline: Instant? = nil) {
    guard let deadline else {
      pthread_cond_wait(condition, mutex)
      return
    }
    var time = timespec(
      tv_sec: Int(deadline.nanoseconds / 1_000_000_000), tv_nsec: Int(deadline.nanoseconds % 1_000_000_000))
    pthread_cond_timedwait(condition, mutex, &time)
  }

  /// Wakes one thread that waits.
  public func signal() { pthread_cond_signal(condition) }

  /// Wakes all threads that wait.
  public func signalAll() { pthread_cond_broadcast(condition) }
}
