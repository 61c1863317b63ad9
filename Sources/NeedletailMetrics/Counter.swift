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
