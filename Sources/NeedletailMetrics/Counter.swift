/// A number that only grows. Anyone may add; an event loop names its own shard.
public final class Counter: Sendable {
  @usableFromInline let block: CellBlock

  init(shards: Int) {
    block = CellBlock(shards: shards, cellsPerShard: 1)
  }

  /// - Parameter shard: the caller's event loop, 0 for everybody else.
  /// - Complexity: one relaxed atomic addition.
  @inlinable
  public func add(_ amount: UInt64 = 1, shard: Int = 0) {
    block.add(amount, cell: 0, shard: shard)
  }

  /// The sum over all shards.
  public var value: UInt64 { block.sum(cell: 0) }
}
