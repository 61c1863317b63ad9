internal import Glibc

/// Codes by the bytes of texts: open addressing with linear probing, at most half full.
///
/// A look-up neither allocates nor copies its key; the keys lie one behind the other in one array. Places depend on two
/// random numbers of each table, so that no file can be written whose texts all meet at one place.
struct ByteDictionary {
  /// One text and its code.
  private struct Entry {
    /// Place of the bytes in `bytes`.
    var start: Int
    var count: Int
    var code: Int32
  }

  /// Lower half of a text's hash, and the index of its entry + 1; entry 0 is a free slot.
  private struct Slot {
    var hash: UInt32
    var entry: UInt32
  }

  private var slots = [Slot](repeating: Slot(hash: 0, entry: 0), count: 16)
  private var entries: [Entry] = []
  private var bytes: [UInt8] = []
  private let seed = UInt64.random(in: .min ... .max)
  private let factor = UInt64.random(in: .min ... .max) | 1

  var count: Int { entries.count }

  /// Code of a text.
  ///
  /// - Complexity: O(bytes) expected; allocates nothing.
  func code(of key: UnsafeRawBufferPointer) -> Int32? {
    let hash = hash(key)
    let mask = slots.count - 1
    var place = Int(hash) & mask
    while slots[place].entry != 0 {
      if slots[place].hash == hash {
        let entry = entries[Int(slots[place].entry) - 1]
        if equals(entry, key) { return entry.code }
      }
      place = (place + 1) & mask
    }
    return nil
  }

  /// Code of a text; see ``code(of:)-(UnsafeRawBufferPointer)``.
  func code(of key: String) -> Int32? {
    var key = key
    return key.withUTF8 { code(of: UnsafeRawBufferPointer($0)) }
  }

  /// Keeps a new text.
  ///
  /// - Precondition: the text has no code yet, and there are fewer than 2^32 - 1 texts.
  /// - Complexity: O(bytes), amortised.
  mutating func insert(_ key: UnsafeRawBufferPointer, code: Int32) {
    if 2 * (entries.count + 1) > slots.count { grow() }
    entries.append(Entry(start: bytes.count, count: key.count, code: code))
    bytes.append(contentsOf: key)
    place(Slot(hash: hash(key), entry: UInt32(entries.count)))
  }

  private mutating func grow() {
    let outgrown = slots
    slots = [Slot](repeating: Slot(hash: 0, entry: 0), count: 2 * outgrown.count)
    for slot in outgrown where slot.entry != 0 { place(slot) }
  }

  private mutating func place(_ slot: Slot) {
    let mask = slots.count - 1
    var place = Int(slot.hash) & mask
    while slots[place].entry != 0 { place = (place + 1) & mask }
    slots[place] = slot
  }

  private func equals(_ entry: Entry, _ key: UnsafeRawBufferPointer) -> Bool {
    guard entry.count == key.count, let other = key.baseAddress else { return entry.count == key.count }
    return bytes.withUnsafeBytes { bytes in
      guard let own = bytes.baseAddress else { return key.isEmpty }
      return memcmp(own + entry.start, other, key.count) == 0
    }
  }

  /// Words of eight bytes, folded into each other by products of 128 bits, as wyhash (Wang Yi, 2019) does.
  private func hash(_ key: UnsafeRawBufferPointer) -> UInt32 {
    let count = key.count
    var state = seed ^ UInt64(count)
    var last: UInt64 = 0
    // The last word may repeat bytes of the one before, and the halves of a short text each other's.
    if count >= 8 {
      for index in stride(from: 0, to: count - 8, by: 8) {
        state = folded(state ^ key.loadUnaligned(fromByteOffset: index, as: UInt64.self))
      }
      last = key.loadUnaligned(fromByteOffset: count - 8, as: UInt64.self)
    } else if count >= 4 {
      let (low, high) = (
        key.loadUnaligned(as: UInt32.self), key.loadUnaligned(fromByteOffset: count - 4, as: UInt32.self)
      )
      last = UInt64(low) | UInt64(high) << 32
    } else if count > 0 {
      last = UInt64(key[0]) | UInt64(key[count / 2]) << 8 | UInt64(key[count - 1]) << 16
    }
    return UInt32(truncatingIfNeeded: folded(folded(state ^ last)))
  }

  private func folded(_ word: UInt64) -> UInt64 {
    let (high, low) = word.multipliedFullWidth(by: factor)
    return high ^ low
  }
}
