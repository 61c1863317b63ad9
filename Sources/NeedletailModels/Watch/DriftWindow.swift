public import NeedletailCore

/// The last so many seconds of all watched columns of one version. It forgets by slices: a window of an hour in twelve
/// slices holds 55 to 60 minutes. Time goes in, nothing else; a test moves it by hand.
public struct DriftWindow: Sendable {
  /// Parts that a window is forgotten by.
  public static let slices = 12

  private let sliceNanoseconds: UInt64
  private let empty: [DriftCounts]
  /// Oldest first; the last one is being filled.
  private var parts: [[DriftCounts]]
  /// Sum of ``parts``.
  public private(set) var counts: [DriftCounts]
  /// End of the slice that is being filled.
  private var sliceEnd: Instant

  /// - Parameter cells: number of cells of each column.
  public init(cells: [Int], seconds: Int, now: Instant) {
    precondition(seconds > 0, "a window has a length")
    sliceNanoseconds = UInt64(seconds) * 1_000_000_000 / UInt64(Self.slices)
    empty = cells.map(DriftCounts.init(cells:))
    parts = [empty]
    counts = empty
    sliceEnd = Instant(nanoseconds: now.nanoseconds + sliceNanoseconds)
  }

  /// Counts one value of a column.
  public mutating func add(_ place: DriftColumn.Place, column: Int) {
    parts[parts.count - 1][column].add(place)
    counts[column].add(place)
  }

  /// Begins new slices as time has passed, and forgets what is older than the window.
  /// - Returns: number of slices that were begun.
  @discardableResult
  public mutating func advance(to now: Instant) -> Int {
    guard now >= sliceEnd else { return 0 }
    let passed = (now.nanoseconds - sliceEnd.nanoseconds) / sliceNanoseconds + 1
    sliceEnd = Instant(nanoseconds: sliceEnd.nanoseconds + passed * sliceNanoseconds)
    guard passed < UInt64(Self.slices) else {
      parts = [empty]
      counts = empty
      return Int(clamping: passed)
    }
    for _ in 0..<passed {
      if parts.count == Self.slices {
        for (column, old) in parts.removeFirst().enumerated() { counts[column] -= old }
      }
      parts.append(empty)
    }
    return Int(passed)
  }
}
