internal import NIOSSL

/// What the TLS connections of a run have in common.
struct LoadEncryption: Sendable {
  var context: NIOSSLContext
  /// That the server's certificate must carry; nil: its address.
  var hostname: String?
}
