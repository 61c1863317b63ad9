/// Keyed hash of RFC 2104 over SHA-256.
public enum HMACSHA256 {
  /// Bytes of a block of SHA-256.
  private static let blockBytes = 64

  /// The code that authenticates a message.
  ///
  /// - Parameters:
  ///   - message: any bytes.
  ///   - key: the secret, of any length.
  /// - Returns: the code, 32 bytes.
  public static func code(of message: [UInt8], key: [UInt8]) -> [UInt8] {
    var block = key.count > blockBytes ? SHA256.hash(key) : key
    block += [UInt8](repeating: 0, count: blockBytes - block.count)
    let inner = SHA256.hash(block.map { $0 ^ 0x36 } + message)
    return SHA256.hash(block.map { $0 ^ 0x5C } + inner)
  }
}
