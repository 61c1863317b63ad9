/// Why a stream of bytes is no stream of frames. The frame boundary is lost.
public enum FrameError: Error, Equatable, Sendable, CustomStringConvertible {
  /// A length word of 0.
  case emptyFrame
  case tooLong(found: Int, limit: Int)

  public var description: String {
    switch self {
    case .emptyFrame: "frame length: expected at least 1 byte, found 0"
    case .tooLong(let found, let limit): "frame length: expected at most \(limit) bytes, found \(found)"
    }
  }

  /// Value of the metric label `reason`.
  public var reason: String {
    switch self {
    case .emptyFrame: "empty_frame"
    case .tooLong: "too_long"
    }
  }
}
