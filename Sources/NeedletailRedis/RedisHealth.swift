public import NeedletailCore

/// Decides whether a server may be asked, and when one that failed is tried again. It knows no clock and no socket.
public struct RedisHealth: Sendable {
  /// What is worth saying.
  public enum Change: Equatable, Sendable {
    case up
    case down
  }

  private enum State {
    /// Nobody has asked yet.
    case unknown
    case up
    /// It failed so many times, and is tried again then.
    case down(failures: Int, retry: Instant)
  }

  /// Pause after the first failure, in microseconds; each further failure doubles it.
  private static let pause: ClosedRange<UInt64> = 100_000...5_000_000

  private var state = State.unknown

  public init() {}

  /// Whether calls may ask. While the server is down only probes do.
  public var mayAsk: Bool { if case .down = state { false } else { true } }

  public var isUp: Bool { if case .up = state { true } else { false } }

  /// Time of the next probe; nil: none is needed.
  public var retry: Instant? { if case .down(_, let retry) = state { retry } else { nil } }

  public mutating func succeeded() -> Change? {
    defer { state = .up }
    return isUp ? nil : .up
  }

  public mutating func failed(now: Instant) -> Change? {
    var failures = 1
    var change: Change? = .down
    if case .down(let before, let retry) = state {
      // Calls that were on their way fail together, and are one failure.
      guard now >= retry else { return nil }
      failures = before + 1
      change = nil
    }
    let pause = min(Self.pause.lowerBound << UInt64(min(failures - 1, 10)), Self.pause.upperBound)
    state = .down(failures: failures, retry: now.advanced(byMicroseconds: pause))
    return change
  }
}
