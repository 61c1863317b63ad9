internal import Synchronization

/// Raised once.
final class SharedFlag: Sendable {
  private let isRaised = Atomic(false)

  /// - Returns: whether this call raised it.
  func raise() -> Bool { !isRaised.exchange(true, ordering: .sequentiallyConsistent) }
}
