internal import NIOCore

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

/// The socket below a connection without TLS, for bytes that it takes at once.
///
/// A write through the channel's pipeline keeps a list of what waits, some 4,000 instructions a write. Here is
/// only the call into the kernel: what the socket does not take, and every error, is left to the channel.
/// Confined to the channel's event loop.
struct PlainSocket {
  private let channel: any Channel
  private let descriptor: NIOBSDSocket.Handle

  /// - Returns: nil where the channel has no socket of its own.
  init?(_ channel: any Channel) {
    let descriptor = try? channel.pipeline.syncOperations.withUnsafeTransportIfAvailable(
      of: NIOBSDSocket.Handle.self
    ) { $0 }
    guard let descriptor else { return nil }
    self.channel = channel
    self.descriptor = descriptor
  }

  /// - Precondition: nothing waits in the channel, or these bytes would overtake it.
  /// - Returns: how many the socket took.
  func write(_ bytes: UnsafeRawBufferPointer) -> Int {
    // From the moment that the channel closes the descriptor, and on this thread, it is not active:
    // the number may be another connection's by now.
    guard channel.isActive else { return 0 }
    #if canImport(Darwin)
      let flags: Int32 = 0
    #else
      let flags = Int32(MSG_NOSIGNAL)
    #endif
    return max(0, send(descriptor, bytes.baseAddress, bytes.count, flags))
  }
}
