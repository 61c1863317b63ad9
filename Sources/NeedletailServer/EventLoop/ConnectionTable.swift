internal import NeedletailServing

/// Connections of one loop by slot. A slot is used again; its generation tells whether an event or an answer on its
/// way still means the connection that stands there. Confined to its loop.
struct ConnectionTable {
  private struct Slot {
    var generation: UInt32 = 0
    var connection: Connection?
    /// Whether the slot stands in `dirty`.
    var isDirty = false
  }

  private var slots: [Slot] = []
  private var free: [UInt32] = []
  /// Slots to flush at the end of the tick.
  private var dirty: [UInt32] = []

  /// Number of slots, free ones included.
  var slotCount: Int { slots.count }

  var isEmpty: Bool { free.count == slots.count }

  /// Place for a new connection, of which ``insert(_:)`` or ``release(_:)`` must follow.
  mutating func reserve() -> ReplyAddress {
    let index = free.popLast() ?? UInt32(slots.count)
    if index == slots.count { slots.append(Slot()) }
    return ReplyAddress(slot: index, generation: slots[Int(index)].generation, id: 0)
  }

  mutating func insert(_ connection: Connection) { slots[Int(connection.address.slot)].connection = connection }

  mutating func release(_ address: ReplyAddress) {
    slots[Int(address.slot)].connection = nil
    slots[Int(address.slot)].generation &+= 1
    free.append(address.slot)
  }

  /// Number that stands for an address in the poller's events.
  static func token(of address: ReplyAddress) -> UInt64 { UInt64(address.slot) | UInt64(address.generation) << 32 }

  /// Connection that an event is about; nil if it was closed while the event was on its way.
  subscript(token token: UInt64) -> Connection? {
    let slot = slots[Int(UInt32(truncatingIfNeeded: token))]
    return slot.generation == UInt32(truncatingIfNeeded: token >> 32) ? slot.connection : nil
  }

  /// Connection that an answer goes to; nil if it was closed since it asked.
  subscript(address: ReplyAddress) -> Connection? {
    let slot = slots[Int(address.slot)]
    return slot.generation == address.generation ? slot.connection : nil
  }

  /// Connection in a slot; nil: the slot is free.
  subscript(slot index: Int) -> Connection? { slots[index].connection }

  // MARK: connections to flush

  /// Puts a connection on the list of those to flush, once.
  mutating func markDirty(_ address: ReplyAddress) {
    let index = Int(address.slot)
    guard !slots[index].isDirty else { return }
    slots[index].isDirty = true
    dirty.append(address.slot)
  }

  /// Calls `body` for each connection to flush, which stays on the list.
  func forEachDirty(_ body: (Connection) -> Void) {
    for index in dirty { if let connection = slots[Int(index)].connection { body(connection) } }
  }

  /// Takes the list of slots to flush; `taken` gives its memory for the next one.
  mutating func takeDirty(into taken: inout [UInt32]) {
    taken.removeAll(keepingCapacity: true)
    swap(&dirty, &taken)
    for index in taken { slots[Int(index)].isDirty = false }
  }
}
