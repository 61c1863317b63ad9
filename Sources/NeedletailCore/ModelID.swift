/// The name of a model, as it stands in the store, in a bundle and on the wire.
///
/// 1 to 128 bytes of `A–Z a–z 0–9 . _ -`, starting with a letter or a digit: safe as a directory
/// name, as a metric label and in a log line.
public struct ModelID: Hashable, Sendable, Comparable, CustomStringConvertible {
  public let name: String

  /// - Throws: `.invalidArgument` naming what is wrong with `name`.
  public init(_ name: String) throws(ServingError) {
    let bytes = name.utf8
    guard (1...Limits.modelNameBytesMax).contains(bytes.count) else {
      throw .invalidArgument(
        "model name: expected 1 to \(Limits.modelNameBytesMax) bytes, found \(bytes.count)")
    }
    guard let first = bytes.first, Self.isAlphanumeric(first), bytes.allSatisfy(Self.isAllowed) else {
      throw .invalidArgument(
        "model name: expected letters, digits, '.', '_', '-', starting with a letter or digit, found \(name.quotedForMessage)"
      )
    }
    self.name = name
  }

  public var description: String { name }

  public static func < (a: ModelID, b: ModelID) -> Bool { a.name < b.name }

  private static func isAlphanumeric(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "a")...UInt8(ascii: "z"):
      true
    default: false
    }
  }

  private static func isAllowed(_ byte: UInt8) -> Bool {
    isAlphanumeric(byte) || byte == UInt8(ascii: ".") || byte == UInt8(ascii: "_") || byte == UInt8(ascii: "-")
  }
}
