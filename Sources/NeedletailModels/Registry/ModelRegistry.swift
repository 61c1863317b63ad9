internal import Synchronization

/// Holds the current table. A swap is one atomic pointer; readers neither wait nor touch a reference count.
///
/// Reclamation is by epochs. A reader announces the epoch it entered in a slot of its own, then loads the pointer; an
/// epoch of 0 means that it holds nothing. The publisher swaps the pointer, tags the old table with the epoch and then
/// raises it. Announcement, pointer and epoch are sequentially consistent, so a reader that got the old table had
/// announced an epoch no later than the tag before the swap happened, and the publisher sees that. Once every slot is 0 or
/// above the tag, no reader can hold the old table.
/// Source: K. Fraser, Practical lock-freedom, 2004, section 5.2.3, with one epoch per swap.
///
/// `@unchecked Sendable`: readers touch atomics only; `publisher` is a lock around the rest.
public final class ModelRegistry: @unchecked Sendable {
  private struct Retired {
    let table: ModelTable
    let epoch: UInt64
  }

  private struct Publisher {
    var current: ModelTable
    var retired: [Retired] = []
    var isTaken: [Bool]
  }

  /// Number of threads that may hold a ``RegistryReader``.
  public let readers: Int
  private let epoch = Atomic<UInt64>(1)
  private let table: Atomic<UnsafeMutableRawPointer>
  private let slots: UnsafeMutablePointer<ReaderSlot>
  private let publisher: Mutex<Publisher>

  /// - Parameter readers: number of event loops and workers.
  public init(readers: Int) {
    precondition(readers > 0, "a registry needs a reader")
    self.readers = readers
    slots = ReaderSlot.allocate(count: readers)
    // `publisher` owns every table that the pointer may point to.
    table = Atomic(Unmanaged.passUnretained(ModelTable.empty).toOpaque())
    publisher = Mutex(Publisher(current: .empty, isTaken: Array(repeating: false, count: readers)))
  }

  deinit {
    // Readers hold the registry, so none is left.
    slots.deinitialize(count: readers)
    UnsafeMutableRawPointer(slots).deallocate()
  }

  /// The reader of one event loop or worker. It belongs to that thread.
  /// - Precondition: nobody else holds the reader of this index.
  public func reader(_ index: Int) -> RegistryReader {
    precondition((0..<readers).contains(index), "reader \(index) of \(readers)")
    publisher.withLock { publisher in
      precondition(!publisher.isTaken[index], "reader \(index) is held already")
      publisher.isTaken[index] = true
    }
    return RegistryReader(registry: self, index: index, slot: slots + index)
  }

  func giveBack(_ index: Int) {
    publisher.withLock { $0.isTaken[index] = false }
  }

  /// The current table, retained, for the control plane.
  public var current: ModelTable { publisher.withLock { $0.current } }

  /// Makes `new` the table of every later lease. The old table is let go once no reader can hold it: at once if no lease is
  /// open, else in a later ``reclaim()``.
  public func publish(_ new: ModelTable) {
    publisher.withLock { publisher in
      let old = publisher.current
      publisher.current = new
      table.store(Unmanaged.passUnretained(new).toOpaque(), ordering: .sequentiallyConsistent)
      let tag = epoch.wrappingAdd(1, ordering: .sequentiallyConsistent).oldValue
      publisher.retired.append(Retired(table: old, epoch: tag))
    }
    reclaim()
  }

  /// Lets go of the tables that no reader can hold any more.
  /// - Returns: number of tables that may still be held.
  @discardableResult
  public func reclaim() -> Int {
    // Freed outside the lock: the end of a model calls its `onRelease`.
    var free: [ModelTable] = []
    let held = publisher.withLock { publisher in
      guard !publisher.retired.isEmpty else { return 0 }
      var oldest = UInt64.max
      for index in 0..<readers {
        let entered = slots[index].epoch.load(ordering: .sequentiallyConsistent)
        if entered != 0 { oldest = min(oldest, entered) }
      }
      publisher.retired.removeAll { retired in
        guard retired.epoch < oldest else { return false }
        free.append(retired.table)
        return true
      }
      return publisher.retired.count
    }
    free.removeAll()
    return held
  }

  /// Announces the epoch in the reader's slot and returns the table. Wait-free: two loads and a store.
  func enter(_ slot: UnsafeMutablePointer<ReaderSlot>) -> Unmanaged<ModelTable> {
    slot.pointee.epoch.store(epoch.load(ordering: .sequentiallyConsistent), ordering: .sequentiallyConsistent)
    return currentBorrowed
  }

  /// The table, for a reader that announced an epoch already.
  var currentBorrowed: Unmanaged<ModelTable> { .fromOpaque(table.load(ordering: .sequentiallyConsistent)) }
}

/// Slot of one reader, two cache lines long: the adjacent-line prefetcher of x86 loads lines in pairs.
struct ReaderSlot: ~Copyable {
  private static let bytes = 128

  /// The epoch the reader entered; 0 while it holds nothing.
  let epoch = Atomic<UInt64>(0)
  private let padding: InlineArray<15, UInt64> = InlineArray(repeating: 0)

  static func allocate(count: Int) -> UnsafeMutablePointer<ReaderSlot> {
    assert(MemoryLayout<ReaderSlot>.stride == bytes)
    let memory = UnsafeMutableRawPointer.allocate(byteCount: count * bytes, alignment: bytes)
    let slots = memory.bindMemory(to: ReaderSlot.self, capacity: count)
    for index in 0..<count { (slots + index).initialize(to: ReaderSlot()) }
    return slots
  }
}
