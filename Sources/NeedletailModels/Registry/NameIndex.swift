/// Positions of names, found by their UTF-8 bytes: open addressing with linear probing, at most half
/// full, built once.
///
/// Names come from the operator's store, not from clients, so that a fixed hash suffices: a client
/// cannot choose what collides.
struct NameIndex: Sendable {
  private struct Slot {
    var hash: UInt64
    var start: Int
    var count: Int
    /// −1: free.
    var position: Int
  }

  private let slots: [Slot]
  private let bytes: [UInt8]

  /// - Precondition: no name stands twice.
  init(_ names: [String]) {
    var capacity = 4
    while capacity < names.count * 2 { capacity *= 2 }
    var slots = [Slot](repeating: Slot(hash: 0, start: 0, count: 0, position: -1), count: capacity)
    var bytes: [UInt8] = []
    for (position, name) in names.enumerated() {
      let start = bytes.count
      bytes += name.utf8
      let hash = bytes[start...].withUnsafeBytes { Self.hash($0) }
      var slot = Int(truncatingIfNeeded: hash) & (capacity - 1)
      while slots[slot].position >= 0 {
        precondition(names[slots[slot].position] != name, "\(name) stands twice in the table")
        slot = (slot + 1) & (capacity - 1)
      }
      slots[slot] = Slot(hash: hash, start: start, count: bytes.count - start, position: position)
    }
    self.slots = slots
    self.bytes = bytes
  }

  /// - Complexity: O(bytes of the name), without allocation.
  func position(of name: UnsafeRawBufferPointer) -> Int? {
    let hash = Self.hash(name)
    let mask = slots.count - 1
    var slot = Int(truncatingIfNeeded: hash) & mask
    while slots[slot].position >= 0 {
      let candidate = slots[slot]
      if candidate.hash == hash, candidate.count == name.count,
        equals(name, start: candidate.start)
      {
        return candidate.position
      }
      slot = (slot + 1) & mask
    }
    return nil
  }

  private func equals(_ name: UnsafeRawBufferPointer, start: Int) -> Bool {
    for offset in 0..<name.count where bytes[start + offset] != name[offset] { return false }
    return true
  }

  /// FNV-1a, 64 bits, over no more bytes than a name can have plus one, folded so that the low bits
  /// depend on all of them.
  private static func hash(_ name: UnsafeRawBufferPointer) -> UInt64 {
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    for byte in name.prefix(129) {
      hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3
    }
    return hash ^ (hash >> 32)
  }
}
