internal import FoundationEssentials
internal import NeedletailCrypto

/// A secret that a client presents: `ntk_` and 43 characters with 256 random bits from the system.
///
/// Servers store only its ``KeyDigest``. A slow hash would add nothing: slow hashes protect passwords, which people
/// choose and attackers can guess, while 2^256 keys cannot be tried at any speed.
public struct APIKey: Sendable {
  /// Prefix by which secret scanners recognise keys in places where they should not be.
  public static let prefix = "ntk_"

  /// The key as text, printed once for its owner.
  public let text: String

  /// Makes a new random key.
  public init() {
    let random = Data(CryptoLibrary.randomBytes(32))
    // Unpadded base64 for URLs needs no quotes in a shell, a header or a YAML file.
    let encoded = random.base64EncodedString().replacing("+", with: "-").replacing("/", with: "_")
    text = Self.prefix + encoded.replacing("=", with: "")
  }

  public var digest: KeyDigest {
    var text = text
    return text.withUTF8 { KeyDigest(of: UnsafeRawBufferPointer($0)) }
  }
}

/// SHA-256 of a key, the only form in which a server stores it.
public struct KeyDigest: Sendable, CustomStringConvertible {
  private static let prefix = "sha256:"

  private let words: (UInt64, UInt64, UInt64, UInt64)

  public init(of key: UnsafeRawBufferPointer) {
    words = SHA256.hash(key).withUnsafeBytes { $0.loadUnaligned(as: (UInt64, UInt64, UInt64, UInt64).self) }
  }

  /// Parses the text that ``description`` writes.
  public init?(text: String) {
    let digits = Array(text.utf8.dropFirst(Self.prefix.utf8.count))
    guard text.hasPrefix(Self.prefix), digits.count == 64 else { return nil }
    var bytes: [UInt8] = []
    for position in stride(from: 0, to: 64, by: 2) {
      guard let high = Self.value(of: digits[position]), let low = Self.value(of: digits[position + 1]) else {
        return nil
      }
      bytes.append(high << 4 | low)
    }
    words = bytes.withUnsafeBytes { $0.loadUnaligned(as: (UInt64, UInt64, UInt64, UInt64).self) }
  }

  private static func value(of digit: UInt8) -> UInt8? {
    switch digit {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
    default: nil
    }
  }

  /// `sha256:` and 64 lower-case digits.
  public var description: String {
    withUnsafeBytes(of: words) { bytes in
      bytes.reduce(into: Self.prefix) { text, byte in
        text += (byte < 16 ? "0" : "") + String(byte, radix: 16)
      }
    }
  }

  /// Compares in the same time wherever the two differ.
  public func isSame(as other: KeyDigest) -> Bool {
    (words.0 ^ other.words.0) | (words.1 ^ other.words.1) | (words.2 ^ other.words.2) | (words.3 ^ other.words.3) == 0
  }
}
