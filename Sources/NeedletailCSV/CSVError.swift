internal import NeedletailCore

/// What is wrong with a CSV file, and where.
public struct CSVError: Error, Equatable, Sendable, CustomStringConvertible {
  /// From 1.
  public let line: Int
  /// By its name in the header, where one column is at fault.
  public let column: String?
  /// One sentence without the place: what was expected and what was found.
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
