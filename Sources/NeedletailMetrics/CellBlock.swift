public import Synchronization

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
