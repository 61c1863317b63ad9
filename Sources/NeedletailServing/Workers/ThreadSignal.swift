internal import NeedletailCore

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// A lock and a place to wait for a signal, on the monotonic clock.
///
/// `@unchecked Sendable`: both live in memory of their own, and are made to be shared.
final class ThreadSignal: @unchecked Sendable {
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

  init() {
    mutex.initialize(to: pthread_mutex_t())
    condition.initialize(to: pthread_cond_t())
    pthread_mutex_init(mutex, nil)
    #if canImport(Glibc)
      var attributes = pthread_condattr_t()
      pthread_condattr_init(&attributes)
      // A change of the wall clock must not prolong a wait.
      pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
      pthread_cond_init(condition, &attributes)
      pthread_condattr_destroy(&attributes)
    #else
      pthread_cond_init(condition, nil)
    #endif
  }

  deinit {
    pthread_cond_destroy(condition)
    pthread_mutex_destroy(mutex)
    condition.deallocate()
    mutex.deallocate()
  }

  func lock() { pthread_mutex_lock(mutex) }
  func unlock() { pthread_mutex_unlock(mutex) }

  /// Waits, unlocked, for a signal or until `instant`; may return for no reason.
  func wait(until instant: Instant? = nil) {
    guard let instant else {
      pthread_cond_wait(condition, mutex)
      return
    }
    #if canImport(Glibc)
      var time = timespec(
        tv_sec: Int(instant.nanoseconds / 1_000_000_000), tv_nsec: Int(instant.nanoseconds % 1_000_000_000))
      pthread_cond_timedwait(condition, mutex, &time)
    #else
      let now = Instant.now().nanoseconds
      let rest = instant.nanoseconds > now ? instant.nanoseconds - now : 0
      var time = timespec(tv_sec: Int(rest / 1_000_000_000), tv_nsec: Int(rest % 1_000_000_000))
      pthread_cond_timedwait_relative_np(condition, mutex, &time)
    #endif
  }

  /// Wakes one that waits.
  func signal() { pthread_cond_signal(condition) }

  func signalAll() { pthread_cond_broadcast(condition) }
}
