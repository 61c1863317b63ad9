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
