/// The part of a request that an error is about, for programs; the error's sentence says the same to people.
///
/// A class, so that errors without one stay small: they are returned through every layer of the data plane.
public final class ErrorDetail: Equatable, Sendable {
  /// A limit that a request exceeded.
  public struct Limit: Equatable, Sendable {
    /// Name of the limit, as the fields of `ServerLimits` are named in the protocol.
    public let name: String
    /// The most that the server takes.
    public let maximum: UInt64
    /// What the request has, as far as it was counted.
    public let found: UInt64

    public init(_ name: String, maximum: UInt64, found: UInt64) {
      self.name = name
      self.maximum = maximum
      self.found = found
    }
  }

  /// Name of a feature, of an input tensor, or of a field of the call; empty: of none.
  public let field: String
  /// The row of the call, counted from 0; nil: no single row.
  public let row: UInt64?
  /// The limit that was exceeded; nil: none.
  public let limit: Limit?

  public init(field: String = "", row: UInt64? = nil, limit: Limit? = nil) {
    self.field = field
    self.row = row
    self.limit = limit
  }

  public static func == (a: ErrorDetail, b: ErrorDetail) -> Bool {
    a.field == b.field && a.row == b.row && a.limit == b.limit
  }
}
