internal import CNeedletailProto
internal import NeedletailCore

/// Scratch for one decoded request: what a ``RequestView`` points to, beside the frame itself.
///
/// Confined to one loop. Blocks are kept between messages, so that a steady stream of requests
/// allocates nothing; they are given back when the arena grew large and requests became small.
/// One message may spend `Limits.arenaBytesPerFrameByte × frame + Limits.arenaBytesBase` bytes.
public final class MessageArena {
  // Heap storage of its own: its address must not move.
  private let arena: UnsafeMutablePointer<nt_arena>

  public init() {
    arena = .allocate(capacity: 1)
    nt_arena_init(arena)
  }

  deinit {
    nt_arena_destroy(arena)
    arena.deallocate()
  }

  /// What a message that came in `frameBytes` bytes may spend.
  public static func budgetBytes(frameBytes: Int) -> Int {
    Limits.arenaBytesPerFrameByte * frameBytes + Limits.arenaBytesBase
  }

  /// Ends the life of everything handed out and sets the budget of the next message.
  public func reset(budgetBytes: Int) {
    nt_arena_reset(arena, budgetBytes)
  }

  /// Bytes handed out since the last reset; never above the budget.
  public var bytesSpent: Int { arena.pointee.spent }

  /// What the message may spend.
  public var bytesBudget: Int { arena.pointee.budget }

  /// Bytes held from the system, in use or kept for the next message.
  public var bytesHeld: Int { arena.pointee.held }

  /// Blocks that were taken from the system so far.
  public var blockAllocations: UInt64 { arena.pointee.block_allocations }

  /// Room for `count` values, uninitialised, or nil when the budget is spent.
  func allocate<Value: BitwiseCopyable>(_ type: Value.Type, count: Int) -> UnsafeMutableBufferPointer<Value>? {
    let (bytes, overflow) = count.multipliedReportingOverflow(by: MemoryLayout<Value>.stride)
    guard !overflow, let memory = nt_arena_allocate(arena, bytes) else { return nil }
    return UnsafeMutableBufferPointer(start: memory.bindMemory(to: Value.self, capacity: count), count: count)
  }
}
