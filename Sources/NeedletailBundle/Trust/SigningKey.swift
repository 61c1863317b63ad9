/// An Ed25519 private key. It lives with the publisher, never on a server.
public struct SigningKey: Sendable {
  /// A new key from the system's random numbers.
  public init() {}

  /// Reads a key file written by `write(to:)`.
  public init(file path: String) throws(BundleError) { fatalError() }

  /// Writes the key with mode 0600. Never overwrites.
  public func write(to path: String) throws(BundleError) { fatalError() }

  public var publicKey: PublicKey { fatalError() }
}
