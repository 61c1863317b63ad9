internal import Glibc
internal import NeedletailCore

/// Bytes of one connection that arrived and were not yet read by its codec.
///
/// A loop reads all its connections into the same memory. While it serves a connection this buffer borrows those
/// bytes; what is left at the end of a turn, part of a call in most cases, is copied to memory of its own. That memory
/// grows with what arrives, never with what a length promises. Confined to the connection's loop.
struct ReceiveBuffer: ~Copyable {
  /// Bytes that the codec has not read, in `memory` or in borrowed memory.
  private(set) var unread = UnsafeRawBufferPointer(start: nil, count: 0)
  private var isBorrowing = false
  private var memory = UnsafeMutableRawBufferPointer(start: nil, count: 0)

  /// Most memory that a buffer without unread bytes keeps: a read, and the part of a call that preceded it.
  private static let emptyBytesMax = 4 * Limits.receiveBytes

  deinit { memory.deallocate() }

  var isEmpty: Bool { unread.isEmpty }

  /// Bytes of memory behind the buffer, for tests of its bounds.
  var capacityBytes: Int { memory.count }

  /// Takes bytes that stay valid until ``keepUnread()``. They are copied only where a part of a call precedes them.
  mutating func append(borrowing bytes: UnsafeRawBufferPointer) {
    guard unread.isEmpty else { return append(copying: bytes) }
    unread = bytes
    isBorrowing = true
  }

  /// Takes a copy of bytes.
  mutating func append(copying bytes: UnsafeRawBufferPointer) {
    guard !bytes.isEmpty else { return }
    if isBorrowing { keepUnread() }
    let count = unread.count
    let needed = count + bytes.count
    if needed > memory.count {
      let grown = UnsafeMutableRawBufferPointer.allocate(byteCount: max(needed, 2 * memory.count), alignment: 16)
      grown.copyMemory(from: unread)
      memory.deallocate()
      memory = grown
      unread = UnsafeRawBufferPointer(rebasing: memory[..<count])
    } else if offset + needed > memory.count {
      moveToFront()
    }
    let start = offset
    UnsafeMutableRawBufferPointer(rebasing: memory[(start + count)...]).copyMemory(from: bytes)
    unread = UnsafeRawBufferPointer(rebasing: memory[start..<start + needed])
  }

  /// Marks the first `count` unread bytes as read. They stay valid until more bytes are taken or kept.
  mutating func consume(_ count: Int) { unread = UnsafeRawBufferPointer(rebasing: unread[count...]) }

  /// Marks the last `count` bytes that were read as unread again; nothing was taken or kept since.
  mutating func unconsume(_ count: Int) {
    unread = UnsafeRawBufferPointer(start: unread.baseAddress.map { $0 - count }, count: unread.count + count)
  }

  /// Ends the borrowing of bytes: those still unread are copied.
  mutating func keepUnread() {
    if isBorrowing {
      isBorrowing = false
      let left = unread
      unread = UnsafeRawBufferPointer(start: nil, count: 0)
      append(copying: left)
    }
    if unread.isEmpty, memory.count > Self.emptyBytesMax { free() }
  }

  /// Frees memory that holds no unread bytes. Called for connections that have been quiet.
  mutating func trim() {
    if unread.isEmpty, !isBorrowing { free() }
  }

  private mutating func free() {
    memory.deallocate()
    memory = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    unread = UnsafeRawBufferPointer(start: nil, count: 0)
  }

  mutating func removeAll() { unread = UnsafeRawBufferPointer(start: nil, count: 0) }

  /// Position of the unread bytes in `memory`.
  private var offset: Int {
    guard let first = unread.baseAddress, let start = memory.baseAddress, !unread.isEmpty else { return 0 }
    return first - UnsafeRawPointer(start)
  }

  private mutating func moveToFront() {
    guard let start = memory.baseAddress, let first = unread.baseAddress else { return }
    memmove(start, first, unread.count)
    unread = UnsafeRawBufferPointer(rebasing: memory[..<unread.count])
  }
}
