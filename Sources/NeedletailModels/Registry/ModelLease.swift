public import NeedletailCore
internal import Synchronization

/// One thread's access to the registry. It belongs to the event loop or worker that asked for it, which is why it is not
/// `Sendable`.
public final class RegistryReader {
  private let registry: ModelRegistry
  private let index: Int
  fileprivate let slot: UnsafeMutablePointer<ReaderSlot>
  /// Number of open leases on this thread. Only the outermost announces an epoch and withdraws it.
  fileprivate var depth = 0
  /// Number of calls, which decides the arm of a split for calls without a routing key.
  fileprivate var draws: UInt64

  init(registry: ModelRegistry, index: Int, slot: UnsafeMutablePointer<ReaderSlot>) {
    self.registry = registry
    self.index = index
    self.slot = slot
    // Two loops must not draw the same sequence.
    draws = UInt64(index) << 48
  }

  deinit {
    precondition(depth == 0, "a reader was dropped while a lease was open")
    registry.giveBack(index)
  }

  /// Holds the current table until the lease ends: take one per batch. Wait-free.
  ///
  /// Leases may nest; the inner one may see a newer table.
  public func lease() -> ModelLease {
    // An inner lease stays within the older epoch that the outer one announced, which is the safe side.
    let table = depth == 0 ? registry.enter(slot) : registry.currentBorrowed
    depth += 1
    return ModelLease(reader: Unmanaged.passUnretained(self), table: table)
  }
}

/// The right to use one table. While it is open nothing in the table is freed. It must end on the thread that took it,
/// before its reader is freed; dropping it ends it too.
public struct ModelLease: ~Copyable {
  private let reader: Unmanaged<RegistryReader>
  private let borrowed: Unmanaged<ModelTable>

  fileprivate init(reader: Unmanaged<RegistryReader>, table: Unmanaged<ModelTable>) {
    self.reader = reader
    borrowed = table
  }

  deinit {
    reader._withUnsafeGuaranteedRef { reader in
      reader.depth -= 1
      if reader.depth == 0 {
        // Release order: everything read through the lease was read before it ended.
        reader.slot.pointee.epoch.store(0, ordering: .releasing)
      }
    }
  }

  /// The version that a call asks for, without touching a reference count: valid until the lease ends.
  ///
  /// - Parameter routingKey: the key as sent; if it is empty, every call is drawn anew.
  /// - Throws: as ``ModelTable/borrowedModel(named:selector:routingKey:draw:)``.
  public func borrowedModel(
    named name: UnsafeRawBufferPointer, selector: ModelSelector,
    routingKey: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0)
  ) throws(ServingError) -> Unmanaged<LiveModel> {
    let draw = reader._withUnsafeGuaranteedRef { reader in
      reader.draws &+= 1
      return reader.draws
    }
    return try table.borrowedModel(named: name, selector: selector, routingKey: routingKey, draw: draw)
  }

  /// The version that a call asks for, retained.
  ///
  /// - Throws: as ``ModelTable/borrowedModel(named:selector:routingKey:draw:)``.
  public func model(named name: UnsafeRawBufferPointer, selector: ModelSelector) throws(ServingError) -> LiveModel {
    try table.model(named: name, selector: selector)
  }

  /// The version that gets copies of what `model` answers; nil if there is none or it is `model` itself.
  public func shadow(of model: LiveModel) -> LiveModel? { table.shadow(of: model) }

  /// Whether this version may be asked for.
  public func isLive(_ model: LiveModel) -> Bool { borrowed._withUnsafeGuaranteedRef { $0.isLive(model) } }

  /// Number of the table.
  public var generation: UInt64 { borrowed._withUnsafeGuaranteedRef { $0.generation } }

  public var table: ModelTable { borrowed.takeUnretainedValue() }

  /// Ends the lease.
  public consuming func end() {}
}
