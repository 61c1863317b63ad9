internal import Synchronization

/// Records on their way from one thread, such as an event loop, to another: a ring in memory that is there from the begin.
/// Where it is full the writer goes on without it.
///
/// `@unchecked Sendable`: the writer writes between `head` and `tail` + capacity, the reader reads between `tail` and
/// `head`, and each moves its own end only. `reserved` is the writer's.
public final class RecordRing: @unchecked Sendable {
  private let memory: UnsafeMutableRawPointer
  private let capacity: Int
  /// Bytes that were written since the begin, padding included.
  private let head = Atomic<Int>(0)
  /// Bytes that were read.
  private let tail = Atomic<Int>(0)
  /// Whether the reader waits for the next record; else it looks by itself.
  private let isAwaited = Atomic<Bool>(false)
  /// End of the record that is being written.
  private var reserved = 0

  /// Length of a record stands before it in eight bytes.
  private static let lengthBytes = 8
  /// In place of a length: the next record stands at the begin of the memory.
  private static let wrap = UInt64.max

  /// - Parameter bytes: a multiple of eight.
  public init(bytes: Int) {
    precondition(bytes > 0 && bytes % Self.lengthBytes == 0, "a ring has a multiple of eight bytes")
    capacity = bytes
    memory = .allocate(byteCount: bytes, alignment: Self.lengthBytes)
    memory.initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
  }

  deinit { memory.deallocate() }

  // MARK: called by the writer

  /// Memory for a record, which ``publish()`` hands over; nil: there is none.
  public func reserve(_ bytes: Int) -> UnsafeMutableRawPointer? {
    let entry = Self.lengthBytes + (bytes + Self.lengthBytes - 1) / Self.lengthBytes * Self.lengthBytes
    let position = head.load(ordering: .relaxed)
    let offset = position % capacity
    let toEnd = capacity - offset
    let start = entry <= toEnd ? position : position + toEnd
    guard start + entry - tail.load(ordering: .acquiring) <= capacity else { return nil }
    if start != position { memory.storeBytes(of: Self.wrap, toByteOffset: offset, as: UInt64.self) }
    memory.storeBytes(of: UInt64(bytes), toByteOffset: start % capacity, as: UInt64.self)
    reserved = start + entry
    return memory + start % capacity + Self.lengthBytes
  }

  /// Hands over the record that was reserved last.
  /// - Returns: whether the reader must be woken: it waits, or the ring has become half full.
  public func publish() -> Bool {
    let before = head.load(ordering: .relaxed)
    head.store(reserved, ordering: .sequentiallyConsistent)
    if isAwaited.load(ordering: .sequentiallyConsistent) {
      return isAwaited.exchange(false, ordering: .relaxed)
    }
    let read = tail.load(ordering: .relaxed)
    return before - read < capacity / 2 && reserved - read >= capacity / 2
  }

  // MARK: called by the reader

  /// Asks to be woken by the next record.
  /// - Returns: false if there is one already.
  public func awaitNext() -> Bool {
    isAwaited.store(true, ordering: .sequentiallyConsistent)
    return head.load(ordering: .sequentiallyConsistent) == tail.load(ordering: .relaxed)
  }

  /// Takes all records.
  /// - Returns: their number.
  public func drain(_ body: (UnsafeRawBufferPointer) -> Void) -> Int {
    let end = head.load(ordering: .acquiring)
    var position = tail.load(ordering: .relaxed)
    var count = 0
    while position < end {
      let offset = position % capacity
      let length = memory.load(fromByteOffset: offset, as: UInt64.self)
      if length == Self.wrap {
        position += capacity - offset
        continue
      }
      let bytes = Int(length)
      body(UnsafeRawBufferPointer(start: memory + offset + Self.lengthBytes, count: bytes))
      position += Self.lengthBytes + (bytes + Self.lengthBytes - 1) / Self.lengthBytes * Self.lengthBytes
      tail.store(position, ordering: .releasing)
      count += 1
    }
    tail.store(position, ordering: .releasing)
    return count
  }
}
