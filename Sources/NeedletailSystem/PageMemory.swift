internal import CNeedletailSystem
internal import Glibc

/// Large blocks of memory that are mappings of their own: what was freed is the system's at once.
///
/// Blocks are touched and unmapped in pieces, so that a thread which needs the processor need not wait for a whole one.
/// Event loops call none of this.
public enum PageMemory {
  /// Bytes that one call unmaps: 512 small pages take some 60 µs, one huge page less.
  private static let unmapBytes = 2 << 20

  /// Zeroed memory whose pages are not there yet; nil: the system has none.
  ///
  /// - Parameter bytes: above 0.
  public static func map(bytes: Int) -> UnsafeMutableRawPointer? {
    guard
      let block = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
      block != MAP_FAILED
    else { return nil }
    return block
  }

  /// Makes every page of a new block present, so that its first user need not.
  public static func touch(_ block: UnsafeMutableRawPointer, bytes: Int) {
    Pieces.forEach(bytes) { range in
      for offset in stride(from: range.lowerBound, to: range.upperBound, by: 4096) {
        (block + offset).storeBytes(of: 0, as: UInt8.self)
      }
    }
  }

  /// - Parameter bytes: as asked for.
  public static func unmap(_ block: UnsafeMutableRawPointer, bytes: Int) {
    Pieces.forEach(bytes, size: unmapBytes) { range in
      munmap(block + range.lowerBound, range.count)
    }
  }
}

/// The C library's heaps, which keep what was freed for later use.
public enum Heap {
  /// Allows one heap for each of so many threads, unless the operator said how many there may be. By default threads share
  /// them from eight a processor on, and an event loop that shared one with a thread of idle priority could find it
  /// locked by a thread that does not run.
  ///
  /// Called before other threads are started.
  public static func allow(threads: Int) {
    guard getenv("MALLOC_ARENA_MAX") == nil, getenv("GLIBC_TUNABLES") == nil else { return }
    nt_heap_set_count(Int32(clamping: threads))
  }

  /// Gives memory back to the system if `bytesMin` bytes or more are kept.
  ///
  /// It takes the lock of every heap in turn, also of those that event loops allocate from, and may hold each for some
  /// milliseconds. A thread of idle priority must not call it: interrupted with such a lock in its hand, it would stop a
  /// loop for as long as it does not run.
  public static func trim(ifKept bytesMin: Int) {
    if nt_heap_free_bytes() >= bytesMin { nt_heap_trim() }
  }
}
