internal import Glibc
internal import NeedletailCore
internal import NeedletailSystem

/// Answers by the bytes that were asked, in memory of a fixed size. Confined to one event loop; allocates nothing after it
/// was made.
///
/// Entries stand one behind the other in a ring, in the order in which they were written. The next one takes the place of
/// the oldest; an oldest one that was found since it was written is written again first (FIFO with reinsertion, also known
/// as CLOCK), so that popular entries stay. A table of 8 bytes a slot finds entries by a hash of their keys, by linear
/// probing; then all bytes of the key are compared, so that two keys of one hash cost time and never an answer.
struct AnswerRing: ~Copyable {
  /// What an answer depends on beside the rows.
  struct Question: Equatable {
    /// Number of the version, never used for another one.
    var version: UInt32
    var rows: Int
    /// Outputs wanted, one bit each.
    var selection: UInt64
  }

  /// An entry that was begun.
  struct Ticket: BitwiseCopyable {
    /// Position of the entry among all bytes ever written; `.max`: there is none.
    fileprivate var position: UInt64

    static let none = Ticket(position: .max)

    var isNone: Bool { position == .max }
  }

  /// An answer that was found.
  struct Found {
    /// Output after output, each with all rows.
    var floats: UnsafePointer<Float>
    /// Numbers of it that are NaN or infinite.
    var nonFinite: Int
  }

  private struct Header {
    var position: UInt64
    var hash: UInt64
    var selection: UInt64
    var version: UInt32
    var rows: UInt32
    var keyBytes: UInt32
    var floats: UInt32
    var nonFinite: UInt32
    /// Bytes of the entry, this head included.
    var bytes: UInt32
    /// Whether its floats are there.
    var isWhole: Bool
    /// Whether it was found since it was written.
    var wasFound: Bool
  }

  /// Place in the table: the upper half of a hash, and the position in the ring in units of ``alignment`` plus one; 0: free.
  private struct Slot: BitwiseCopyable {
    var tag: UInt32
    var place: UInt32
  }

  private static let alignment = 16
  private static let headerBytes = (MemoryLayout<Header>.stride + alignment - 1) / alignment * alignment
  /// Slots that are looked at for one key. At most half of all are taken, so that longer runs are as good as never there.
  private static let probesMax = 32
  /// Entries that are written again for one that is new: it bounds the time of a call.
  private static let reinsertionsMax = 4

  private let memory: UnsafeMutableRawPointer
  private let ringBytes: Int
  private let slots: UnsafeMutablePointer<Slot>
  private let slotCount: Int
  private let seed: UInt64
  /// Bytes ever written, and of these the first that still stand: a ring's positions, without wrapping.
  private var head: UInt64 = 0
  private var tail: UInt64 = 0
  private(set) var count = 0
  private(set) var evictions = 0
  /// Largest entry.
  let entryBytesMax: Int

  /// - Parameters:
  ///   - bytes: of ring and table; at least ``bytesMin``.
  ///   - seed: by which keys are hashed: where callers do not know it, they cannot make keys of one hash.
  /// - Returns: nil if the system has no memory.
  init?(bytes: Int, seed: UInt64) {
    precondition(bytes >= Self.bytesMin, "a ring of \(bytes) bytes is too small")
    // An eighth for the table, rounded to a power of two.
    var slotCount = 64
    while 2 * slotCount * MemoryLayout<Slot>.stride <= bytes / 8 { slotCount *= 2 }
    let tableBytes = slotCount * MemoryLayout<Slot>.stride
    let ringBytes = (bytes - tableBytes) / Self.alignment * Self.alignment
    guard let block = PageMemory.map(bytes: tableBytes + ringBytes) else { return nil }
    PageMemory.touch(block, bytes: tableBytes + ringBytes)
    slots = block.bindMemory(to: Slot.self, capacity: slotCount)
    memory = block + tableBytes
    self.ringBytes = ringBytes
    self.slotCount = slotCount
    self.seed = seed
    entryBytesMax = min(Limits.cacheEntryBytesMax, ringBytes / 16) / Self.alignment * Self.alignment
  }

  deinit {
    PageMemory.unmap(slots, bytes: slotCount * MemoryLayout<Slot>.stride + ringBytes)
  }

  /// Least bytes of a ring.
  static let bytesMin = 64 << 10

  /// Bytes of the ring that hold entries.
  var bytesUsed: Int { Int(head - tail) }

  // MARK: calls

  /// The answer to a question whose rows have these bytes; nil: it is not known. Valid until the next ``begin(_:_:floats:hash:)``.
  mutating func find(_ question: Question, _ key: UnsafeRawBufferPointer, hash: UInt64) -> Found? {
    guard let slot = slot(of: question, key, hash) else { return nil }
    let entry = entry(at: slots[slot].place)
    entry.pointee.wasFound = true
    return Found(
      floats: UnsafePointer(floats(of: entry)), nonFinite: Int(entry.pointee.nonFinite))
  }

  /// Hash of a key.
  func hash(_ question: Question, _ key: UnsafeRawBufferPointer) -> UInt64 {
    KeyHash.of(key, seed: seed ^ question.selection ^ UInt64(question.version) << 32 ^ UInt64(question.rows))
  }

  /// Makes room for an answer and keeps its key, which need not live on. The oldest entries make way.
  /// - Parameter floats: number of floats of the answer.
  /// - Returns: ``Ticket/none`` for an entry that is too large.
  mutating func begin(_ question: Question, _ key: UnsafeRawBufferPointer, floats: Int, hash: UInt64) -> Ticket {
    let bytes = Self.bytes(key: key.count, floats: floats)
    guard bytes <= entryBytesMax, let rows = UInt32(exactly: question.rows) else { return .none }
    var reinsertionsLeft = Self.reinsertionsMax
    // Half of the table at most is taken, this entry included.
    while 2 * (count + 1) > slotCount || !hasRoom(for: bytes) { removeOldest(&reinsertionsLeft) }
    let entry = append(bytes)
    entry.initialize(
      to: Header(
        position: head, hash: hash, selection: question.selection, version: question.version, rows: rows,
        keyBytes: UInt32(key.count), floats: UInt32(floats), nonFinite: 0, bytes: UInt32(bytes), isWhole: false,
        wasFound: false))
    if let start = key.baseAddress { keyMemory(of: entry).copyMemory(from: start, byteCount: key.count) }
    defer { head += UInt64(bytes) }
    return Ticket(position: head)
  }

  /// Writes the answer of an entry that was begun; from now on it can be found. Nothing happens where the entry had to make
  /// way meanwhile, or where another one of the same key was finished before.
  /// - Parameter write: gets the memory for the answer.
  mutating func finish(_ ticket: Ticket, nonFinite: Int, _ write: (UnsafeMutablePointer<Float>) -> Void) {
    guard !ticket.isNone, ticket.position >= tail else { return }
    let entry = header(at: ticket.position)
    let key = UnsafeRawBufferPointer(start: keyMemory(of: entry), count: Int(entry.pointee.keyBytes))
    let question = Question(
      version: entry.pointee.version, rows: Int(entry.pointee.rows), selection: entry.pointee.selection)
    guard slot(of: question, key, entry.pointee.hash) == nil else { return }
    write(floats(of: entry))
    entry.pointee.nonFinite = UInt32(clamping: nonFinite)
    entry.pointee.isWhole = insert(entry)
  }

  // MARK: ring

  private static func bytes(key: Int, floats: Int) -> Int {
    headerBytes + (key + alignment - 1) / alignment * alignment
      + (floats * MemoryLayout<Float>.stride + alignment - 1) / alignment * alignment
  }

  private func header(at position: UInt64) -> UnsafeMutablePointer<Header> {
    (memory + Int(position % UInt64(ringBytes))).assumingMemoryBound(to: Header.self)
  }

  private func entry(at place: UInt32) -> UnsafeMutablePointer<Header> {
    (memory + (Int(place) - 1) * Self.alignment).assumingMemoryBound(to: Header.self)
  }

  private func keyMemory(of entry: UnsafeMutablePointer<Header>) -> UnsafeMutableRawPointer {
    UnsafeMutableRawPointer(entry) + Self.headerBytes
  }

  private func floats(of entry: UnsafeMutablePointer<Header>) -> UnsafeMutablePointer<Float> {
    let key = (Int(entry.pointee.keyBytes) + Self.alignment - 1) / Self.alignment * Self.alignment
    return (keyMemory(of: entry) + key).assumingMemoryBound(to: Float.self)
  }

  /// Bytes at the end of the ring that an entry of this size must leave empty, because it is not cut.
  private func gap(before bytes: Int) -> Int {
    let left = ringBytes - Int(head % UInt64(ringBytes))
    return left >= bytes ? 0 : left
  }

  private func hasRoom(for bytes: Int) -> Bool { Int(head - tail) + gap(before: bytes) + bytes <= ringBytes }

  /// Moves the head to where an entry of this size is whole.
  private mutating func append(_ bytes: Int) -> UnsafeMutablePointer<Header> {
    let gap = gap(before: bytes)
    if gap >= Self.headerBytes {
      // An entry that nobody finds, so that the ring is without holes.
      header(at: head).initialize(
        to: Header(
          position: head, hash: 0, selection: 0, version: 0, rows: 0, keyBytes: 0, floats: 0, nonFinite: 0,
          bytes: UInt32(gap), isWhole: false, wasFound: false))
    }
    head += UInt64(gap)
    return header(at: head)
  }

  private mutating func removeOldest(_ reinsertionsLeft: inout Int) {
    let left = ringBytes - Int(tail % UInt64(ringBytes))
    // Less than a head is left at the end: nothing stands there.
    guard left >= Self.headerBytes else {
      tail += UInt64(left)
      return
    }
    let entry = header(at: tail)
    let bytes = Int(entry.pointee.bytes)
    guard entry.pointee.isWhole else {
      tail += UInt64(bytes)
      return
    }
    remove(entry)
    tail += UInt64(bytes)
    guard entry.pointee.wasFound, reinsertionsLeft > 0, gap(before: bytes) == 0 else {
      evictions += 1
      return
    }
    // Room for it is where it has just been: it moves to the head of the ring.
    reinsertionsLeft -= 1
    let copy = header(at: head)
    memmove(copy, entry, bytes)
    copy.pointee.position = head
    copy.pointee.wasFound = false
    head += UInt64(bytes)
    copy.pointee.isWhole = insert(copy)
  }

  // MARK: table

  private func home(_ hash: UInt64) -> Int { Int(truncatingIfNeeded: hash >> 32) & (slotCount - 1) }

  private func slot(of question: Question, _ key: UnsafeRawBufferPointer, _ hash: UInt64) -> Int? {
    var slot = home(hash)
    let tag = UInt32(truncatingIfNeeded: hash >> 32)
    for _ in 0..<Self.probesMax {
      let candidate = slots[slot]
      guard candidate.place != 0 else { return nil }
      if candidate.tag == tag {
        let entry = entry(at: candidate.place)
        if entry.pointee.hash == hash, entry.pointee.version == question.version,
          entry.pointee.rows == question.rows, entry.pointee.selection == question.selection,
          entry.pointee.keyBytes == key.count, isKey(of: entry, key)
        {
          return slot
        }
      }
      slot = (slot + 1) & (slotCount - 1)
    }
    return nil
  }

  private func isKey(of entry: UnsafeMutablePointer<Header>, _ key: UnsafeRawBufferPointer) -> Bool {
    guard let start = key.baseAddress else { return key.isEmpty }
    return memcmp(keyMemory(of: entry), start, key.count) == 0
  }

  /// - Returns: false where so many slots from the entry's own on are taken that it would not be found.
  private mutating func insert(_ entry: UnsafeMutablePointer<Header>) -> Bool {
    var slot = home(entry.pointee.hash)
    for _ in 0..<Self.probesMax {
      if slots[slot].place == 0 {
        let offset = UnsafeMutableRawPointer(entry) - memory
        slots[slot] = Slot(
          tag: UInt32(truncatingIfNeeded: entry.pointee.hash >> 32), place: UInt32(offset / Self.alignment + 1))
        count += 1
        return true
      }
      slot = (slot + 1) & (slotCount - 1)
    }
    return false
  }

  /// Takes an entry out of the table, and moves those behind it that would not be found any more.
  private mutating func remove(_ entry: UnsafeMutablePointer<Header>) {
    let place = UInt32((UnsafeMutableRawPointer(entry) - memory) / Self.alignment + 1)
    var slot = home(entry.pointee.hash)
    while slots[slot].place != place {
      precondition(slots[slot].place != 0, "an entry of the cache is not in its table")
      slot = (slot + 1) & (slotCount - 1)
    }
    var free = slot
    var next = (slot + 1) & (slotCount - 1)
    while slots[next].place != 0 {
      // The tag is the half of the hash that the home is taken from.
      let home = Int(slots[next].tag) & (slotCount - 1)
      if (next - home) & (slotCount - 1) >= (next - free) & (slotCount - 1) {
        slots[free] = slots[next]
        free = next
      }
      next = (next + 1) & (slotCount - 1)
    }
    slots[free] = Slot(tag: 0, place: 0)
    count -= 1
  }
}

/// A hash of bytes, 64 bits, for tables. Not for signatures.
///
/// Source: Wang Yi, wyhash, final version 4 (public domain): products of 64 × 64 bits, whose halves are combined. Its
/// secret constants are kept; callers do not know the seed.
enum KeyHash {
  private static let secret: (UInt64, UInt64) = (0x2d35_8dcc_aa6c_78a5, 0x8bb8_4b93_962e_acc9)

  @inline(__always)
  private static func mix(_ a: UInt64, _ b: UInt64) -> UInt64 {
    let product = a.multipliedFullWidth(by: b)
    return product.high ^ product.low
  }

  /// - Complexity: O(bytes).
  static func of(_ key: UnsafeRawBufferPointer, seed: UInt64) -> UInt64 {
    @inline(__always)
    func word(_ offset: Int) -> UInt64 { key.loadUnaligned(fromByteOffset: offset, as: UInt64.self) }
    var hash = mix(seed ^ secret.0, UInt64(key.count) ^ secret.1)
    var at = 0
    if key.count >= 32 {
      // Two products at a time, because each waits for the one before.
      var other = hash ^ secret.1
      while key.count - at >= 32 {
        hash = mix(word(at) ^ secret.0, word(at + 8) ^ hash)
        other = mix(word(at + 16) ^ secret.1, word(at + 24) ^ other)
        at += 32
      }
      hash ^= other
    }
    if key.count - at >= 16 {
      hash = mix(word(at) ^ secret.0, word(at + 8) ^ hash)
      at += 16
    }
    var (low, high): (UInt64, UInt64) = (0, 0)
    for place in 0..<(key.count - at) {
      let byte = UInt64(key[at + place])
      if place < 8 { low |= byte << UInt64(8 * place) } else { high |= byte << UInt64(8 * (place - 8)) }
    }
    return mix(mix(low ^ secret.1, high ^ hash), secret.0 ^ UInt64(key.count))
  }
}
