/// How long one batch took while a version was warmed.
public struct WarmUpRun: Equatable, Sendable {
  public let rows: Int
  /// Of the fastest run at this size after the first one, which touched the pages.
  public let nanoseconds: UInt64

  public init(rows: Int, nanoseconds: UInt64) {
    self.rows = rows
    self.nanoseconds = nanoseconds
  }
}
