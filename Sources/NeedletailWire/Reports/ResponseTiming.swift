/// Where the time of a predict call went, as the server measured it.
public struct ResponseTiming: Sendable, Equatable {
  public var queueMicroseconds: UInt32
  public var computeMicroseconds: UInt32
  /// Rows of the batch that the call was computed in, its own included.
  public var batchRows: UInt32

  public init(queueMicroseconds: UInt32 = 0, computeMicroseconds: UInt32 = 0, batchRows: UInt32 = 0) {
    self.queueMicroseconds = queueMicroseconds
    self.computeMicroseconds = computeMicroseconds
    self.batchRows = batchRows
  }
}
