internal import Synchronization

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
