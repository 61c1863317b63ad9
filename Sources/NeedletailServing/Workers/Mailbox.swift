internal import Synchronization

/// Where workers leave a loop's finished calls. One wake-up a batch: only who finds it empty wakes the loop.
public final class Mailbox: Sendable {
  private let calls: Mutex<[Unmanaged<QueuedCall>]>
  private let wake: @Sendable () -> Void

  /// - Parameter wake: called on a worker's thread; makes the loop call ``TickBatcher/collect(into:)``.
  public init(wake: @escaping @Sendable () -> Void) {
    var places: [Unmanaged<QueuedCall>] = []
    places.reserveCapacity(256)
    calls = Mutex(places)
    self.wake = wake
  }

  func post(_ finished: ArraySlice<Unmanaged<QueuedCall>>) {
    let wasEmpty = calls.withLock { calls in
      let wasEmpty = calls.isEmpty
      calls.append(contentsOf: finished)
      return wasEmpty
    }
    if wasEmpty { wake() }
  }

  /// Takes all that is there; `into` gives its memory for the next ones.
  func empty(into taken: inout [Unmanaged<QueuedCall>]) {
    taken.removeAll(keepingCapacity: true)
    calls.withLock { swap(&$0, &taken) }
  }
}
