/// Quantiles by linear interpolation between order statistics, as NumPy's default.
enum Quantiles {
  /// - Parameters:
  ///   - sorted: ascending, not empty.
  ///   - fraction: 0…1.
  static func of(_ sorted: [Double], _ fraction: Double) -> Double {
    let position = fraction * Double(sorted.count - 1)
    let low = Int(position)
    let high = min(low + 1, sorted.count - 1)
    return sorted[low] + (position - Double(low)) * (sorted[high] - sorted[low])
  }
}
