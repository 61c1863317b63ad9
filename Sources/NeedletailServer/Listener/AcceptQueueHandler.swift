internal import NIOCore
internal import NeedletailCore

/// Knows who stands between the kernel's queue and an event loop, so that a listening socket is closed
/// when nobody does.
///
/// A peer whose connection the kernel has accepted may have sent a call already. When the socket closes,
/// the kernel resets those it still holds, and NIO closes those whose pipelines are being made: both
/// without a word. Taken first, they are told GoAway like everybody.
///
/// First in the pipeline of a listening socket that was bound without automatic reading. Confined to the
/// loop of that socket.
final class AcceptQueueHandler: ChannelInboundHandler {
  typealias InboundIn = any Channel

  private var accepted = 0
  /// Accepted and not yet handed to their loops.
  private var underWay = 0

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    accepted += 1
    underWay += 1
    context.fireChannelRead(data)
  }

  fileprivate func handedOver() { underWay = max(0, underWay - 1) }

  /// Begins to accept, once the pipeline is whole.
  static func start(_ channel: any Channel) async throws {
    try await channel.eventLoop.submit {
      let pipeline = channel.pipeline.syncOperations
      try pipeline.addHandler(HandedOverHandler(queue: pipeline.handler(type: Self.self)))
      try channel.syncOptions?.setOption(.autoRead, value: true)
    }.get()
  }

  /// Takes those who stand in the queue, then closes.
  ///
  /// While ever more come it gives up after ``Limits/acceptDrainMilliseconds``.
  static func close(_ channel: any Channel) async {
    try? await channel.eventLoop.flatSubmit {
      if let queue = try? channel.pipeline.syncOperations.handler(type: Self.self) {
        queue.closeWhenEmpty(
          channel, seen: queue.accepted, until: .now() + .milliseconds(Limits.acceptDrainMilliseconds))
      } else {
        channel.close(promise: nil)
      }
      return channel.closeFuture
    }.get()
  }

  private func closeWhenEmpty(_ channel: any Channel, seen: Int, until limit: NIODeadline) {
    // Before a loop runs what is due it asks its poller: by then it has taken some of those who waited.
    channel.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(1)) { [self] in
      if (accepted == seen && underWay == 0) || .now() >= limit {
        channel.close(promise: nil)
      } else {
        closeWhenEmpty(channel, seen: accepted, until: limit)
      }
    }
  }
}

/// Last in the pipeline: what gets here, a connection or the reason why there is none, is off the hands of
/// the listening socket.
private final class HandedOverHandler: ChannelInboundHandler {
  typealias InboundIn = any Channel

  private let queue: AcceptQueueHandler

  init(queue: AcceptQueueHandler) { self.queue = queue }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    queue.handedOver()
    context.fireChannelRead(data)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    queue.handedOver()
    context.fireErrorCaught(error)
  }
}
