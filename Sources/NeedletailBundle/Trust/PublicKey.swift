internal import FoundationEssentials
internal import NeedletailCore
internal import NeedletailCrypto

/// An Ed25519 public key; as text `ed25519:<base64>`.
public struct PublicKey: Sendable, Hashable, CustomStringConvertible {
  private static let prefix = "ed25519:"

  /// The key's 32 bytes.
  public let bytes: [UInt8]

  init(bytes: [UInt8]) { self.bytes = bytes }

  /// Reads a key from text of the form `ed25519:<base64>`.
  ///
  /// - Throws: `.badKey` that says what is wrong.
  public init(text: String) throws(BundleError) {
    bytes = try KeyText.bytes(of: text, prefix: Self.prefix, what: "public key")
  }

  /// Reads a `.pub` file.
  ///
  /// - Throws: `.io`, `.oversized` or `.badKey`.
  public init(file path: String) throws(BundleError) {
    try self.init(text: KeyText.line(ofFile: path))
  }

  /// First 8 bytes of the SHA-256 of the key, lower-case hexadecimal: it helps to find a key and proves nothing.
  public var keyID: String { Hex.text(keyIDBytes) }

  var keyIDBytes: [UInt8] { Array(SHA256.hash(bytes).prefix(8)) }

  public var description: String { Self.prefix + Data(bytes).base64EncodedString() }

  func isSignature(_ signature: [UInt8], of message: [UInt8]) -> Bool {
    Ed25519.isSignature(signature, of: message, publicKey: bytes)
  }
}

/// Keys as one line of text: a prefix that names the kind, and base64.
enum KeyText {
  static let fileBytesMax = 4096

  /// - Returns: the first line of a key file that is neither empty nor a comment.
  static func line(ofFile path: String) throws(BundleError) -> String {
    let text = try TextFile.read(path, bytesMax: fileBytesMax, reason: .badKey)
    for line in text.split(whereSeparator: \.isNewline) {
      let line = line.drop(while: \.isWhitespace)
      guard let first = line.first, first != "#" else { continue }
      return String(line.prefix { !$0.isWhitespace })
    }
    throw BundleError(.badKey, "\(path): expected a key, found an empty file")
  }

  static func bytes(of text: String, prefix: String, what: String) throws(BundleError) -> [UInt8] {
    guard text.hasPrefix(prefix) else {
      // The text is not quoted, because it may be a private key.
      throw BundleError(.badKey, "\(what): expected text that starts with \(prefix.quotedForMessage), found other text")
    }
    guard let data = Data(base64Encoded: String(text.dropFirst(prefix.count))), data.count == 32 else {
      throw BundleError(
        .badKey, "\(what): expected 32 bytes as base64 behind \(prefix.quotedForMessage), found other text")
    }
    return Array(data)
  }
}
