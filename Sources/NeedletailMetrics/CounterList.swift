/// Numbers that only grow, in one block of memory: what is counted by a label of many values, where a ``Counter`` for each
/// would take a cache line of every thread. Any thread may add to it; an event loop or a worker names its own shard, and no
/// thread that of another.
public final class CounterList: Sendable {
  @usableFromInline let block: CellBlock
  public let count: Int

  init(shards: Int, count: Int) {
    self.count = count
    block = CellBlock(shards: shards, cellsPerShard: count)
  }

  /// - Parameters:
  ///   - index: less than ``count``.
  ///   - shard: index of the caller's event loop or worker; left out by all other threads.
  @inlinable
  public func add(_ amount: UInt64 = 1, at index: Int, shard: Int = -1) {
    precondition(index >= 0 && index < count, "a list of counters has no such one")
    block.add(amount, cell: index, shard: shard)
  }

  /// Sum over all shards.
  public func value(_ index: Int) -> UInt64 { block.sum(cell: index) }
}

extension MetricsRegistry {
  /// Makes series that count what a label tells apart.
  /// - Parameters:
  ///   - label: name of the label, none of `labels`.
  ///   - values: its values, each once, at least one.
  public func counters(
    _ name: String, help: String, labels: [(String, String)], by label: String, values: [String]
  ) -> CounterList {
    let list = CounterList(shards: shards, count: values.count)
    for (index, value) in values.enumerated() {
      sampled(name, kind: .counter, help: help, labels: labels + [(label, value)]) { Double(list.value(index)) }
    }
    return list
  }
}
