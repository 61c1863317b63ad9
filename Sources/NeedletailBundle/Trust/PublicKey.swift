/// An Ed25519 public key; as text `ed25519:<base64>`.
public struct PublicKey: Sendable, Hashable, CustomStringConvertible {
  /// 32 bytes.
  public let bytes: [UInt8]

  public init(text: String) throws(BundleError) { fatalError() }

  /// First 8 bytes of the SHA-256 of the key, lower-case hexadecimal: a hint for look-up, no proof.
  public var keyID: String { fatalError() }

  public var description: String { fatalError() }
}
