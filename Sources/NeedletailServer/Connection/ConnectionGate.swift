internal import Synchronization

/// Counts the connections of all loops and says when there are too many.
final class ConnectionGate: Sendable {
  let connectionsMax: Int
  private let open = Atomic(0)

  init(connectionsMax: Int) { self.connectionsMax = connectionsMax }

  /// - Returns: false if as many are open as may be; then nothing was counted.
  func enter() -> Bool {
    guard open.add(1, ordering: .relaxed).newValue <= connectionsMax else {
      open.subtract(1, ordering: .relaxed)
      return false
    }
    return true
  }

  func leave() { open.subtract(1, ordering: .relaxed) }
}
