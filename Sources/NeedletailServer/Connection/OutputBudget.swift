internal import Synchronization

/// Bytes of answers that wait for slow peers, over all connections of all loops.
///
/// The bound of one connection does not bound a thousand of them. Only connections whose socket takes no
/// more are counted, so the ordinary way of an answer does not come by here.
final class OutputBudget: Sendable {
  let bytesMax: Int
  private let waiting = Atomic(0)

  init(bytesMax: Int) { self.bytesMax = bytesMax }

  /// - Returns: whether all together are above the bound now.
  func move(by bytes: Int) -> Bool { waiting.add(bytes, ordering: .relaxed).newValue > bytesMax }

  var bytesWaiting: Int { waiting.load(ordering: .relaxed) }
}
