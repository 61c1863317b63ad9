internal import NeedletailCore

/// Decides when traced calls are exported, and how long those are tried whose export failed. It knows no clock and no
/// socket.
struct ExportSchedule {
  /// The result of one export.
  enum Result: Equatable {
    case taken
    /// It may succeed later, perhaps not before the seconds that the collector asked for.
    case failed(retryAfterSeconds: Int?)
    case refused
  }

  /// What becomes of the calls of an export.
  enum Verdict: Equatable {
    case done
    case again
    case givenUp
  }

  /// Time of the next export; nil: nothing waits.
  private(set) var due: Instant?
  private var attempts = 0

  /// Notes that calls wait.
  /// - Parameter isFull: whether they are as many as one export takes.
  mutating func waiting(isFull: Bool, now: Instant) {
    // A pause after a failure holds also for calls that come meanwhile.
    guard attempts == 0 else { return }
    if isFull {
      due = now
    } else if due == nil {
      due = now.advanced(byMicroseconds: UInt64(Limits.traceExportMicroseconds))
    }
  }

  /// Notes the end of an export.
  mutating func ended(_ result: Result, now: Instant) -> Verdict {
    due = nil
    guard case .failed(let asked) = result else {
      attempts = 0
      return result == .taken ? .done : .givenUp
    }
    attempts += 1
    guard attempts < Limits.traceAttemptsMax else {
      attempts = 0
      return .givenUp
    }
    let range = Limits.traceRetryMicroseconds
    let pause = min(range.lowerBound << UInt64(attempts - 1), range.upperBound)
    let wanted = UInt64(clamping: asked ?? 0).multipliedReportingOverflow(by: 1_000_000)
    due = now.advanced(byMicroseconds: min(max(pause, wanted.overflow ? .max : wanted.partialValue), range.upperBound))
    return .again
  }
}
