package import NeedletailCore

/// Where one version stands, and where it may go from there.
package struct VersionLifecycle: Sendable, Equatable {
  package private(set) var state: VersionState
  /// Why it was rejected, what it waits for, or what is odd about it; empty otherwise.
  package private(set) var reason: String
  /// Unix time at which it entered the state, in milliseconds.
  package private(set) var sinceMilliseconds: UInt64

  /// - Precondition: `state` is one that a file just found can be in.
  package init(_ state: VersionState, reason: String, now: Moment) {
    assert(Self.entries.contains(state), "no version begins \(state)")
    self.state = state
    self.reason = reason
    sinceMilliseconds = now.milliseconds
  }

  /// Moves on, or keeps the state and changes the reason.
  ///
  /// - Precondition: ``canEnter(_:)``.
  /// - Returns: whether anything changed.
  package mutating func enter(_ next: VersionState, reason: String = "", now: Moment) -> Bool {
    guard next != state || reason != self.reason else { return false }
    if next != state {
      precondition(canEnter(next), "a version cannot go from \(state) to \(next)")
      state = next
      sinceMilliseconds = now.milliseconds
    }
    self.reason = reason
    return true
  }

  package func canEnter(_ next: VersionState) -> Bool { Self.successors(of: state).contains(next) }

  /// `verifying` also stands for "waits for the loader", `retired` for "older than what is kept".
  private static let entries: Set<VersionState> = [.incomplete, .verifying, .rejected, .retired]

  private static func successors(of state: VersionState) -> Set<VersionState> {
    switch state {
    case .incomplete: [.verifying, .rejected, .retired]
    // Back to incomplete: somebody writes the file anew before it was read.
    case .verifying: [.loading, .rejected, .incomplete, .retired]
    case .loading: [.checking, .rejected, .verifying]
    case .checking: [.warming, .rejected, .verifying]
    case .warming: [.live, .rejected, .verifying]
    case .live: [.retiring]
    case .retiring: [.retired]
    // The file changed, or whom we trust did.
    case .retired, .rejected: [.incomplete, .verifying, .rejected, .retired]
    }
  }
}
