/// Name of a job: 128 random bits, so that nobody finds another caller's by trying.
struct JobID: Hashable, Sendable, CustomStringConvertible {
  private let high: UInt64
  private let low: UInt64

  /// Digits of its text.
  static let digits = 32

  init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  /// Draws a new one from the random numbers of the operating system.
  static func random() -> JobID { JobID(high: .random(in: 0 ... .max), low: .random(in: 0 ... .max)) }

  /// Reads 32 lower-case hexadecimal digits; nil: it is something else.
  init?(_ text: UnsafeRawBufferPointer) {
    guard text.count == Self.digits else { return nil }
    var parts: (UInt64, UInt64) = (0, 0)
    for (place, byte) in text.enumerated() {
      guard let digit = Hexadecimal.digit(byte), !(UInt8(ascii: "A")...UInt8(ascii: "F")).contains(byte) else {
        return nil
      }
      if place < 16 { parts.0 = parts.0 << 4 | UInt64(digit) } else { parts.1 = parts.1 << 4 | UInt64(digit) }
    }
    self.init(high: parts.0, low: parts.1)
  }

  var description: String {
    [high >> 32, high & 0xFFFF_FFFF, low >> 32, low & 0xFFFF_FFFF].map {
      String(decoding: Hexadecimal.digits(UInt32($0)), as: UTF8.self)
    }.joined()
  }
}
