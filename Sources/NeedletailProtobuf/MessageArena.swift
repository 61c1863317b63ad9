internal import Glibc
internal import NeedletailCore

/// Memory for what one message decodes into, handed out in order and freed as a whole.
///
/// Hostile bytes amplify: an empty sub-message takes 2 bytes on the wire and 60 as a structure of libprotobuf-c.
/// Every byte handed out, and every unused tail of a block, therefore counts against the budget of the message; beyond
/// it an allocation returns nil, which the decoders turn into an error.
///
/// Blocks are kept between messages, so that a steady stream of messages takes no memory from the system. They are
/// given back when the arena grew large and messages have been small for a while.
///
/// Confined to one event loop or one caller.
public final class MessageArena {
  /// Size of the smallest block: one ordinary request fits.
  private static let blockBytesMin = 4 << 10
  /// Below this nothing is given back.
  private static let keptBytesMax = 256 << 10
  private static let smallMessagesBeforeTrim = 64

  /// Precedes the bytes of a block, which are aligned as `malloc` aligns the block.
  private struct Header {
    var next: UnsafeMutablePointer<Header>?
    var capacity: Int

    static let bytes = 16
  }

  private struct State {
    var first: UnsafeMutablePointer<Header>?
    var current: UnsafeMutablePointer<Header>?
    /// Bytes handed out from the current block.
    var used = 0
    var spent = 0
    var budget = 0
    var held = 0
    var blockAllocations: UInt64 = 0
    /// Messages in a row that needed less than a quarter of ``held``.
    var smallMessages = 0
  }

  /// Behind a pointer: the checks of exclusive access to a class's properties would cost more than an allocation.
  private let state: UnsafeMutablePointer<State>

  /// An arena whose budget is 0 until ``reset(budgetBytes:)``.
  public init() {
    state = .allocate(capacity: 1)
    state.initialize(to: State())
  }

  deinit {
    freeBlocks()
    state.deallocate()
  }

  /// The budget of a request that came in `frameBytes` bytes.
  public static func budgetBytes(frameBytes: Int) -> Int {
    Limits.arenaBytesPerFrameByte * frameBytes + Limits.arenaBytesBase
  }

  /// Bytes handed out since the last reset, unused tails included; never above the budget.
  public var bytesSpent: Int { state.pointee.spent }

  /// Bytes that the message may spend.
  public var bytesBudget: Int { state.pointee.budget }

  /// Bytes held from the system, in use or kept for the next message.
  public var bytesHeld: Int { state.pointee.held }

  /// Number of blocks taken from the system since the arena was made.
  public var blockAllocations: UInt64 { state.pointee.blockAllocations }

  /// Ends the life of everything handed out and sets the budget of the next message.
  public func reset(budgetBytes: Int) {
    if state.pointee.held > Self.keptBytesMax, state.pointee.spent < state.pointee.held / 4 {
      state.pointee.smallMessages += 1
      if state.pointee.smallMessages >= Self.smallMessagesBeforeTrim {
        freeBlocks()
        state.pointee.smallMessages = 0
      }
    } else {
      state.pointee.smallMessages = 0
    }
    state.pointee.current = state.pointee.first
    state.pointee.used = 0
    state.pointee.spent = 0
    state.pointee.budget = budgetBytes
  }

  /// Memory for `count` values, uninitialised, alive until the next reset.
  ///
  /// - Returns: nil when the budget or the system's memory is spent.
  @inlinable
  public func allocate<Value: BitwiseCopyable>(
    _ type: Value.Type, count: Int
  ) -> UnsafeMutableBufferPointer<Value>? {
    let (bytes, overflow) = count.multipliedReportingOverflow(by: MemoryLayout<Value>.stride)
    guard !overflow, let memory = allocate(bytes: bytes) else { return nil }
    return UnsafeMutableBufferPointer(start: memory.bindMemory(to: Value.self, capacity: count), count: count)
  }

  /// Memory of `bytes` bytes, aligned to 8, uninitialised, alive until the next reset.
  ///
  /// - Returns: nil when the budget or the system's memory is spent, or for a negative count.
  public func allocate(bytes count: Int) -> UnsafeMutableRawPointer? {
    guard count >= 0, count <= Int.max - 7 else { return nil }
    let bytes = (count + 7) & ~7
    guard bytes <= state.pointee.budget - state.pointee.spent else { return nil }
    if state.pointee.current.map({ bytes > $0.pointee.capacity - state.pointee.used }) ?? true {
      guard advance(toBlockOf: bytes) else { return nil }
    }
    guard let block = state.pointee.current else { return nil }
    let memory = UnsafeMutableRawPointer(block) + Header.bytes + state.pointee.used
    state.pointee.used += bytes
    state.pointee.spent += bytes
    return memory
  }

  /// Makes a block of at least `bytes` free bytes the current one; what the old one had left is lost.
  private func advance(toBlockOf bytes: Int) -> Bool {
    let old = state.pointee.current
    let tail = old.map { $0.pointee.capacity - state.pointee.used } ?? 0
    var left = state.pointee.budget - state.pointee.spent
    guard tail <= left, bytes <= left - tail else { return false }
    left -= tail
    let following = old?.pointee.next
    if let following, following.pointee.capacity >= bytes {
      state.pointee.current = following
    } else {
      // A long array, a text column in most cases, has others behind it: one block for all that is left loses no tails,
      // and its pages are taken from the system only when they are used. For short arrays doubling keeps the number of
      // blocks logarithmic, and so it does without the budget of a request.
      let isLong = bytes >= Self.blockBytesMin && left <= Self.budgetBytes(frameBytes: Limits.frameBytesHardCap)
      let wanted = isLong ? left : max(state.pointee.held, Self.blockBytesMin)
      let capacity = max(bytes, min(wanted, left & ~7))
      guard let memory = malloc(Header.bytes + capacity) else { return false }
      let block = memory.bindMemory(to: Header.self, capacity: 1)
      block.initialize(to: Header(next: old == nil ? state.pointee.first : following, capacity: capacity))
      if let old { old.pointee.next = block } else { state.pointee.first = block }
      state.pointee.current = block
      state.pointee.held += capacity
      state.pointee.blockAllocations += 1
    }
    state.pointee.used = 0
    state.pointee.spent += tail
    return true
  }

  private func freeBlocks() {
    var block = state.pointee.first
    while let freed = block {
      block = freed.pointee.next
      free(freed)
    }
    state.pointee.first = nil
    state.pointee.current = nil
    state.pointee.held = 0
  }
}
