/// The version of a model: a decimal number from 1, larger is newer.
public struct ModelVersion: Hashable, Sendable, Comparable, CustomStringConvertible {
  public let number: UInt64

  /// - Returns: nil for 0, which on the wire means "none".
  public init?(_ number: UInt64) {
    guard number > 0 else { return nil }
    self.number = number
  }

  /// Reads canonical decimal: no sign, no leading zero, no spaces.
  ///
  /// A file named `007.ntb` would be a second name for version 7, so it is none.
  public init?(decimal text: some StringProtocol) {
    guard let first = text.utf8.first, first != UInt8(ascii: "0"),
      text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
      let number = UInt64(text)
    else { return nil }
    self.init(number)
  }

  public var description: String { String(number) }

  public static func < (a: ModelVersion, b: ModelVersion) -> Bool { a.number < b.number }
}
