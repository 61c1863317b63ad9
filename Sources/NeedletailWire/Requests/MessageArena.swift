/// Scratch for one decoded request: what a ``RequestView`` points to, beside the frame itself.
///
/// Confined to one loop. Blocks are kept between messages, so that a steady stream of requests
/// allocates nothing.
public final class MessageArena {
  public init() {}

  /// Ends the life of everything handed out and sets the budget of the next message.
  public func reset(budgetBytes: Int) { fatalError() }
}
