#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// Ends another thread's `poll` early. `Sendable`: writing to a pipe needs no lock.
final class WakeUp: Sendable {
  /// Readable once somebody called.
  let descriptor: Int32
  private let writeEnd: Int32

  init() {
    var ends: [Int32] = [-1, -1]
    precondition(pipe(&ends) == 0, "cannot make a pipe: \(SystemFailure(errno).message)")
    for end in ends {
      _ = fcntl(end, F_SETFD, FD_CLOEXEC)
      _ = fcntl(end, F_SETFL, O_NONBLOCK)
    }
    descriptor = ends[0]
    writeEnd = ends[1]
  }

  deinit {
    close(descriptor)
    close(writeEnd)
  }

  func call() {
    var byte: UInt8 = 1
    // A full pipe is as good as a written byte.
    _ = write(writeEnd, &byte, 1)
  }

  func drain() {
    var bytes = [UInt8](repeating: 0, count: 256)
    while read(descriptor, &bytes, bytes.count) > 0 {}
  }
}
