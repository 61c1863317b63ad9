public import NeedletailCapture

/// Captured calls, some at a time.
public final class CaptureBatches {
  private let query: CaptureQuery
  private let size: Int
  private var files: [SegmentFile]?
  private var waiting: [CapturedCall] = []
  /// False once something could not be read.
  public private(set) var isWhole = true

  /// - Parameter size: most calls that ``next()`` gives.
  public init(_ query: CaptureQuery, size: Int) {
    self.query = query
    self.size = size
  }

  /// The next calls; nil: there are no more. Memory holds the calls of one segment.
  public func next() throws -> [CapturedCall]? {
    if files == nil { files = try query.files().reversed() }
    while waiting.isEmpty {
      guard let file = files?.popLast() else { return nil }
      let isRead = try query.forEachCall(in: file) { call in
        waiting.append(call)
        return true
      }
      if !isRead { isWhole = false }
      waiting.reverse()
    }
    let calls = Array(waiting.suffix(size).reversed())
    waiting.removeLast(calls.count)
    return calls
  }
}
