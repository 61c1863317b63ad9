internal import NeedletailCore

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

/// What holds for texts of any kind.
enum NameCheck {
  static func unique(_ names: [String], _ field: @autoclosure () -> String) throws(BundleError) {
    var seen = Set<String>(minimumCapacity: names.count)
    for name in names {
      try text(name, field())
      guard seen.insert(name).inserted else {
        throw BundleError(.invalidGraph, "\(field()) \(name.quotedForMessage): expected once, found twice")
      }
    }
  }

  /// A NUL would end the text early in a C reader.
  static func text(_ text: String, _ field: @autoclosure () -> String) throws(BundleError) {
    guard !text.utf8.contains(0) else {
      throw BundleError(.malformed, "\(field()): expected text without NUL, found one")
    }
  }
}

/// Numbers of a model are finite: a NaN among weights turns every answer into NaN.
enum Finite {
  static func check(_ numbers: [some BinaryFloatingPoint], _ field: @autoclosure () -> String) throws(BundleError) {
    guard let index = numbers.firstIndex(where: { !$0.isFinite }) else { return }
    throw BundleError(.invalidGraph, "\(field()): expected finite numbers, found \(numbers[index]) at \(index)")
  }
}
