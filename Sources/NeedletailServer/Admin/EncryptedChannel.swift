internal import HummingbirdCore
internal import Logging
internal import NIOCore
internal import NeedletailTLS

/// A connection within TLS, met with the certificate that is in force when it is made.
///
/// The library's own takes one certificate for as long as it runs.
struct EncryptedChannel<Base: ServerChildChannel>: ServerChildChannel {
  let base: Base
  let tls: TLSSource

  func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Base.Value> {
    channel.eventLoop.makeCompletedFuture {
      try channel.pipeline.syncOperations.addHandler(TLSHandler(.server(tls.context)))
    }.flatMap { base.setup(channel: channel, logger: logger) }
  }

  func handle(value: Base.Value, logger: Logger) async { await base.handle(value: value, logger: logger) }
}
