public import Synchronization

/// A number that only grows. Any thread may add to it; an event loop names its own shard.
public final class Counter: Sendable {
  @usableFromInline let block: CellBlock

  init(shards: Int) {
    block = CellBlock(shards: shards, cellsPerShard: 1)
  }

  /// - Parameter shard: Index of the caller's event loop; 0 for other threads.
  /// - Complexity: one relaxed atomic addition.
  @inlinable
  public func add(_ amount: UInt64 = 1, shard: Int = 0) {
    block.add(amount, cell: 0, shard: shard)
  }

  /// Sum over all shards.
  public var value: UInt64 { block.sum(cell: 0) }
}

/// A number that rises and falls. Its value is the last one `set` plus everything that was ever `add`ed, so a gauge is
/// either set or counted up and down, not both.
public final class Gauge: Sendable {
  @usableFromInline let block: CellBlock
  private let base = Atomic<UInt64>(0)

  init(shards: Int) {
    block = CellBlock(shards: shards, cellsPerShard: 1)
  }

  public func set(_ value: Double) {
    base.store(value.bitPattern, ordering: .relaxed)
  }

  /// Counts up or down, for example calls in flight. The shard that counts down may be another than the one that
  /// counted up.
  /// - Complexity: one relaxed atomic addition.
  @inlinable
  public func add(_ amount: Int, shard: Int = 0) {
    block.add(UInt64(bitPattern: Int64(amount)), cell: 0, shard: shard)
  }

  public var value: Double {
    Double(bitPattern: base.load(ordering: .relaxed)) + Double(Int64(bitPattern: block.sum(cell: 0)))
  }
}

/// 64-bit cells in `shards` rows that share no cache line with each other. Each event loop writes its own row, so
/// that two loops which count the same thing never write to one cache line.
///
/// Any thread adds to cells with relaxed atomics, and a scrape sums them. A sum is therefore monotonic, and exact for
/// everything that happened before the scrape began.
@usableFromInline
final class CellBlock: @unchecked Sendable {  // The memory is fixed at init and holds atomics only.
  /// Two cache lines, because the adjacent-line prefetcher of x86 fetches lines in pairs.
  private static let rowAlignmentBytes = 128

  @usableFromInline let cells: UnsafeMutablePointer<Atomic<UInt64>>
  /// Number of cells from the row of one shard to that of the next.
  @usableFromInline let stride: Int
  @usableFromInline let shards: Int

  init(shards: Int, cellsPerShard: Int) {
    precondition(shards > 0 && cellsPerShard > 0, "a cell block needs a shard and a cell")
    let cellBytes = MemoryLayout<Atomic<UInt64>>.stride
    let rowBytes =
      (cellsPerShard * cellBytes + Self.rowAlignmentBytes - 1) / Self.rowAlignmentBytes * Self.rowAlignmentBytes
    stride = rowBytes / cellBytes
    self.shards = shards
    let memory = UnsafeMutableRawPointer.allocate(
      byteCount: rowBytes * shards, alignment: Self.rowAlignmentBytes)
    cells = memory.bindMemory(to: Atomic<UInt64>.self, capacity: stride * shards)
    for index in 0..<(stride * shards) {
      (cells + index).initialize(to: Atomic(0))
    }
  }

  deinit {
    cells.deinitialize(count: stride * shards)
    UnsafeMutableRawPointer(cells).deallocate()
  }

  /// Adds without a lock, an allocation or a branch on the value. A shard beyond the last wraps around, so that a
  /// wrong index can cost a shared cache line but never a wrong total.
  @inlinable
  func add(_ amount: UInt64, cell: Int, shard: Int) {
    let row = shard < shards ? shard : shard % shards
    cells[row &* stride &+ cell].wrappingAdd(amount, ordering: .relaxed)
  }

  /// Sum of one cell over all shards; it wraps as the cells do.
  func sum(cell: Int) -> UInt64 {
    var total: UInt64 = 0
    for shard in 0..<shards {
      total &+= cells[shard * stride + cell].load(ordering: .relaxed)
    }
    return total
  }
}
