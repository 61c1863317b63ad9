internal import NIOCore

/// How workers wake an event loop: one task, made once, for any number of finished calls.
///
/// `@unchecked Sendable`: connected before any worker knows it, constant from then on.
final class Doorbell: @unchecked Sendable {
  private var eventLoop: (any EventLoop)?
  private var answer: (@Sendable () -> Void)?

  /// - Parameter answer: runs on the loop.
  func connect(to loop: ServingLoop, answer: @escaping @Sendable () -> Void) {
    eventLoop = loop.eventLoop
    self.answer = answer
  }

  /// Called on a worker's thread.
  func ring() {
    guard let eventLoop, let answer else { preconditionFailure("a doorbell rang before it was connected") }
    eventLoop.execute(answer)
  }
}
