public import Synchronization

/// A number that only grows. Any thread may add to it; an event loop or a worker names its own shard, and no thread
/// that of another.
public final class Counter: Sendable {
  @usableFromInline let block: CellBlock

  init(shards: Int) {
    block = CellBlock(shards: shards, cellsPerShard: 1)
  }

  /// - Parameter shard: Index of the caller's event loop or worker; left out by all other threads.
  /// - Complexity: a load and a store; without a shard one relaxed atomic addition.
  @inlinable
  public func add(_ amount: UInt64 = 1, shard: Int = -1) {
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
  /// - Complexity: a load and a store; without a shard one relaxed atomic addition.
  @inlinable
  public func add(_ amount: Int, shard: Int = -1) {
    block.add(UInt64(bitPattern: Int64(amount)), cell: 0, shard: shard)
  }

  public var value: Double {
    Double(bitPattern: base.load(ordering: .relaxed)) + Double(Int64(bitPattern: block.sum(cell: 0)))
  }
}

/// 64-bit cells in `shards` rows and one more, which share no cache line with each other. Each event loop and worker has
/// a row that nobody else writes, so that adding to it is a plain load and store: a locked addition takes some 20
/// cycles, and a call alone makes a dozen. All other threads share the last row and add to it with relaxed atomics.
///
/// A scrape sums the rows. A sum is monotonic, and exact for everything that happened before the scrape began.
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
      byteCount: rowBytes * (shards + 1), alignment: Self.rowAlignmentBytes)
    cells = memory.bindMemory(to: Atomic<UInt64>.self, capacity: stride * (shards + 1))
    for index in 0..<(stride * (shards + 1)) {
      (cells + index).initialize(to: Atomic(0))
    }
  }

  deinit {
    cells.deinitialize(count: stride * (shards + 1))
    UnsafeMutableRawPointer(cells).deallocate()
  }

  /// Adds without a lock, an allocation or a branch on the value. What is no shard is the row that threads share.
  @inlinable
  func add(_ amount: UInt64, cell: Int, shard: Int) {
    if UInt(bitPattern: shard) < UInt(bitPattern: shards) {
      let at = shard &* stride &+ cell
      cells[at].store(cells[at].load(ordering: .relaxed) &+ amount, ordering: .relaxed)
    } else {
      cells[shards &* stride &+ cell].wrappingAdd(amount, ordering: .relaxed)
    }
  }

  /// Sum of one cell over all shards; it wraps as the cells do.
  func sum(cell: Int) -> UInt64 {
    var total: UInt64 = 0
    for shard in 0...shards {
      total &+= cells[shard * stride + cell].load(ordering: .relaxed)
    }
    return total
  }
}

/// Counts how many durations, or numbers of things, fell into each of a few ranges.
///
/// Values are whole ticks, where a tick is a microsecond or one thing. Buckets have inclusive upper bounds, as in
/// Prometheus.
public final class Histogram: Sendable {
  /// Meaning of a tick, and with it the unit that a scrape shows.
  public enum Unit: Sendable {
    /// Ticks are microseconds; bounds and sum are shown in seconds.
    case seconds
    /// Ticks are things, such as rows or bytes.
    case items

    var perTick: Double {
      switch self {
      case .seconds: 1e-6
      case .items: 1
      }
    }
  }

  /// Bounds from 5 µs, which no call over loopback falls below, to 10 s, the longest sensible budget.
  public static let secondsBuckets: [Double] = [
    5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1, 2.5, 5,
    10,
  ]

  let unit: Unit
  /// Upper bounds in the unit of the scrape, ascending, without +Inf.
  let bounds: [Double]
  /// Upper bounds in ticks.
  @usableFromInline let boundTicks: [UInt32]
  /// Cells of each shard: one a bucket, one for +Inf, one for the sum of ticks.
  @usableFromInline let block: CellBlock

  init(shards: Int, unit: Unit, bounds: [Double]) {
    precondition(
      !bounds.isEmpty && zip(bounds, bounds.dropFirst()).allSatisfy { $0 < $1 },
      "histogram bounds must ascend, found \(bounds)")
    self.unit = unit
    self.bounds = bounds
    boundTicks = bounds.map { bound in
      let ticks = (bound / unit.perTick).rounded()
      precondition(ticks >= 0 && ticks < Double(UInt32.max), "histogram bound \(bound) is out of range")
      return UInt32(ticks)
    }
    block = CellBlock(shards: shards, cellsPerShard: bounds.count + 2)
  }

  /// - Parameter shard: Index of the caller's event loop or worker; left out by all other threads.
  /// - Complexity: one walk over the bounds and two additions.
  @inlinable
  public func record(microseconds: UInt32, shard: Int = -1) {
    record(ticks: microseconds, count: 1, shard: shard)
  }

  /// Records one duration for each of `count` calls, such as those of a batch, at the cost of one recording.
  @inlinable
  public func record(microseconds: UInt32, count: Int, shard: Int = -1) {
    record(ticks: microseconds, count: UInt64(clamping: count), shard: shard)
  }

  /// Records a number of things, for histograms of ``Unit/items``.
  @inlinable
  public func record(items: Int, shard: Int = -1) {
    record(ticks: UInt32(clamping: items), count: 1, shard: shard)
  }

  @inlinable
  func record(ticks: UInt32, count: UInt64, shard: Int) {
    var bucket = 0
    while bucket < boundTicks.count, ticks > boundTicks[bucket] { bucket &+= 1 }
    block.add(count, cell: bucket, shard: shard)
    block.add(UInt64(ticks) &* count, cell: boundTicks.count &+ 1, shard: shard)
  }

  /// Entries of each bucket, not cumulative; the last is that of +Inf.
  public var bucketCounts: [UInt64] { (0...bounds.count).map { block.sum(cell: $0) } }

  public var count: UInt64 { bucketCounts.reduce(0, &+) }

  /// Sum of all entries, in seconds or in things.
  public var sum: Double { Double(block.sum(cell: bounds.count + 1)) * unit.perTick }
}

extension Histogram {
  /// Value that a share `quantile` of the entries does not exceed, in the unit of the bounds. It is interpolated
  /// within its bucket, as Prometheus' `histogram_quantile` does; entries beyond the last bound count as that bound.
  ///
  /// - Parameters:
  ///   - quantile: Share of the entries, 0 to 1.
  ///   - bucketCounts: Entries of each bucket, not cumulative; the last is that of +Inf. The difference of two
  ///     readings gives the quantile of the time between them.
  ///   - bounds: Upper bounds of the buckets, ascending, without +Inf.
  /// - Returns: The quantile; nil: there are no entries.
  /// - Complexity: O(buckets).
  public static func quantile(_ quantile: Double, of bucketCounts: [UInt64], bounds: [Double]) -> Double? {
    precondition(bucketCounts.count == bounds.count + 1, "counts of another histogram")
    let total = bucketCounts.reduce(0, &+)
    guard total > 0 else { return nil }
    let rank = quantile * Double(total)
    var below = 0.0
    for (index, bound) in bounds.enumerated() {
      let count = Double(bucketCounts[index])
      if count > 0, below + count >= rank {
        let lower = index == 0 ? 0 : bounds[index - 1]
        return lower + (bound - lower) * max(0, rank - below) / count
      }
      below += count
    }
    return bounds[bounds.count - 1]
  }
}
