internal import NeedletailCore
internal import NeedletailServing

/// Connections of a loop that go unread for a moment, and when that ends. All are read together, as early as
/// any of them asked for: nobody rests longer than it should. Pure.
struct RestingConnections {
  private var addresses: [ReplyAddress] = []
  /// Nil while nobody rests.
  private(set) var due: Instant?

  /// - Returns: whether the end has moved.
  mutating func add(_ address: ReplyAddress, until end: Instant) -> Bool {
    addresses.append(address)
    if let due, due <= end { return false }
    due = end
    return true
  }

  /// Ends the rest of all; `taken` gives its memory for those that come next.
  mutating func take(into taken: inout [ReplyAddress]) {
    taken.removeAll(keepingCapacity: true)
    swap(&addresses, &taken)
    due = nil
  }
}
