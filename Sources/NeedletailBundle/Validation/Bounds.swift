/// A count against its bound.
enum Bounds {
  static func check(
    _ count: Int, _ range: ClosedRange<Int>, _ field: @autoclosure () -> String
  ) throws(BundleError) {
    guard range.contains(count) else {
      throw BundleError(
        count < range.lowerBound ? .malformed : .oversized,
        "\(field()): expected \(range.lowerBound) to \(range.upperBound), found \(count)")
    }
  }
}
