internal import NeedletailCore

/// The calls of one loop that are with the workers, and those that are free for the next ones, by size.
///
/// Steady traffic takes from it and gives back to it and allocates nothing. Confined to its loop.
struct CallSlab: ~Copyable {
  private let mailbox: Mailbox
  /// Free calls whose room is 2ⁿ floats, at n.
  private var free: [[QueuedCall]] = Array(repeating: [], count: 48)
  /// Given out or free: the loop owns them, workers only borrow.
  private var all: [QueuedCall] = []
  /// Of those given out.
  private(set) var floatsTaken = 0
  /// Given out or free.
  private(set) var floatsHeld = 0

  private static let sizeMin = 10

  init(mailbox: Mailbox) { self.mailbox = mailbox }

  /// Nil if the calls of this loop would hold too much memory; one alone may be of any size.
  mutating func take(floats: Int) -> QueuedCall? {
    let size = max(Self.sizeMin, Int.bitWidth - max(floats - 1, 1).leadingZeroBitCount)
    let capacity = 1 << size
    guard floatsTaken == 0 || floatsTaken + capacity <= Limits.queuedFloatsMax else { return nil }
    let call: QueuedCall
    if let used = free[size].popLast() {
      call = used
    } else {
      call = QueuedCall(capacityFloats: capacity, mailbox: mailbox)
      all.append(call)
      floatsHeld += capacity
    }
    floatsTaken += capacity
    return call
  }

  mutating func giveBack(_ call: QueuedCall) {
    floatsTaken -= call.capacityFloats
    call.lane = nil
    call.owner = nil
    free[call.capacityFloats.trailingZeroBitCount].append(call)
  }

  /// Frees what was not in use; called about once a second by a loop without traffic.
  mutating func trim() {
    guard floatsTaken == 0, floatsHeld > Limits.queuedFloatsKept else { return }
    for size in free.indices { free[size].removeAll(keepingCapacity: true) }
    all.removeAll(keepingCapacity: true)
    floatsHeld = 0
  }
}
