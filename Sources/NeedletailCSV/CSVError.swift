internal import NeedletailCore

/// A fault of a CSV file and its place.
public struct CSVError: Error, Equatable, Sendable, CustomStringConvertible {
  /// Line of the fault, from 1.
  public let line: Int
  /// Name in the header of the faulty column; nil: the whole record is at fault.
  public let column: String?
  /// One sentence without the place: what was expected, what was found.
  public let problem: String

  public init(line: Int, column: String? = nil, _ problem: String) {
    self.line = line
    self.column = column
    self.problem = problem
  }

  public var description: String {
    "line \(line): \(column.map { "column \($0.quotedForMessage): " } ?? "")\(problem)"
  }
}
