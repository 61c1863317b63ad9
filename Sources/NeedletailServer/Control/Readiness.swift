internal import NeedletailModels
internal import Synchronization

/// Whether the server takes traffic, and if not, why: one line for people and load balancers.
final class Readiness: Sendable {
  private let isStopping = Atomic(false)
  private let isScanDone = Atomic(false)
  private let store: ModelStore

  init(store: ModelStore) { self.store = store }

  /// From here on the server is not ready.
  func stop() { isStopping.store(true, ordering: .relaxed) }

  /// Whether the store's first scan has been dealt with: what is not found now is not there.
  var hasScanned: Bool {
    if isScanDone.load(ordering: .relaxed) { return true }
    guard store.isReady else { return false }
    isScanDone.store(true, ordering: .relaxed)
    return true
  }

  /// Nil: ready.
  var obstacle: String? {
    if isStopping.load(ordering: .relaxed) { return "the server is stopping" }
    return hasScanned ? nil : "the store's first scan is not finished"
  }
}
