public import Synchronization

/// 64-bit cells in `shards` rows that share no cache line with each other: each event loop writes its
/// own row, so that two loops that count the same thing never fight for a line.
///
/// Cells are added to with relaxed atomics by any thread and summed when somebody scrapes; a sum is
/// therefore exact for all that happened before the scrape began, and monotonic.
@usableFromInline
final class CellBlock: @unchecked Sendable {  // The memory is fixed at init and holds atomics only.
  /// Two lines: the adjacent-line prefetcher of x86 pulls lines in pairs.
  private static let rowAlignmentBytes = 128

  @usableFromInline let cells: UnsafeMutablePointer<Atomic<UInt64>>
  /// Cells from one shard's row to the next.
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

  /// Adds without a lock, an allocation or a branch on the value. A shard beyond the last wraps around:
  /// a wrong index may cost a shared line, never a wrong total.
  @inlinable
  func add(_ amount: UInt64, cell: Int, shard: Int) {
    let row = shard < shards ? shard : shard % shards
    cells[row &* stride &+ cell].wrappingAdd(amount, ordering: .relaxed)
  }

  /// Sum of one cell over all shards; wraps like the cells do.
  func sum(cell: Int) -> UInt64 {
    var total: UInt64 = 0
    for shard in 0..<shards {
      total &+= cells[shard * stride + cell].load(ordering: .relaxed)
    }
    return total
  }
}
