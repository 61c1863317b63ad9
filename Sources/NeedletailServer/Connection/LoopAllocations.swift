internal import CNeedletailAllocations
internal import NeedletailMetrics

/// Counts what one event loop's thread takes from the heap while it serves.
///
/// Everything between two ticks counts, NIO's share included, so that a new connection costs some and a
/// steady stream of calls must cost none. What the loop does by its timer is left out. Confined to its
/// loop; one thread-local load a tick.
struct LoopAllocations {
  private let counter: Counter
  private let shard: Int
  private var seen: UInt64?

  /// Nil where allocations cannot be counted: there is no series then.
  init?(metrics: MetricsRegistry, shard: Int) {
    guard nt_allocations_counted() else { return nil }
    counter = metrics.counter(
      "needletail_loop_allocations_total",
      help: "Heap allocations on the threads of event loops; a steady stream of calls makes none.")
    self.shard = shard
  }

  /// Counts what was allocated since the last call of either method.
  mutating func count() {
    let now = nt_allocations_of_thread()
    // The first call comes with the first tick: what the thread did before was its start.
    if let seen, now > seen { counter.add(now - seen, shard: shard) }
    seen = now
  }

  /// Leaves out what was allocated since the last call of either method.
  mutating func skip() { seen = nt_allocations_of_thread() }
}
