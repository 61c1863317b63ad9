internal import NeedletailCrypto

#if canImport(FoundationEssentials)
  internal import FoundationEssentials
#else
  internal import Foundation
#endif

/// A secret that a client shows: `ntk_` and 43 characters, 256 bits from the system's random numbers.
///
/// Servers keep its ``KeyDigest`` only. A slow hash would add nothing: those exist for passwords, which
/// people choose and attackers can guess; 2^256 keys cannot be tried at any speed.
public struct APIKey: Sendable {
  /// Lets secret scanners find keys that went where they should not.
  public static let prefix = "ntk_"

  /// As it is shown to its owner, once.
  public let text: String

  /// A new key.
  public init() {
    let random = Data(CryptoLibrary.randomBytes(32))
    // Base64 for URLs, unpadded: no shell, header or YAML file needs to quote it.
    let encoded = random.base64EncodedString().replacing("+", with: "-").replacing("/", with: "_")
    text = Self.prefix + encoded.replacing("=", with: "")
  }

  public var digest: KeyDigest {
    var text = text
    return text.withUTF8 { KeyDigest(of: UnsafeRawBufferPointer($0)) }
  }
}

/// SHA-256 of a key, which is all that a server knows of it.
public struct KeyDigest: Sendable, CustomStringConvertible {
  private static let prefix = "sha256:"

  private let words: (UInt64, UInt64, UInt64, UInt64)

  public init(of key: UnsafeRawBufferPointer) {
    words = SHA256.hash(key).withUnsafeBytes { $0.loadUnaligned(as: (UInt64, UInt64, UInt64, UInt64).self) }
  }

  /// Reads what ``description`` writes.
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

  /// Takes the same time wherever the two differ.
  public func isSame(as other: KeyDigest) -> Bool {
    (words.0 ^ other.words.0) | (words.1 ^ other.words.1) | (words.2 ^ other.words.2) | (words.3 ^ other.words.3) == 0
  }
}
