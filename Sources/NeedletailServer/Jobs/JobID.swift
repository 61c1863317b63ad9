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
    guard text.count == Self.digits, let high = Hexadecimal.number(lowercase: text[..<16]),
      let low = Hexadecimal.number(lowercase: text[16...])
    else { return nil }
    self.init(high: high, low: low)
  }

  var description: String {
    [high >> 32, high & 0xFFFF_FFFF, low >> 32, low & 0xFFFF_FFFF].map {
      String(decoding: Hexadecimal.digits(UInt32($0)), as: UTF8.self)
    }.joined()
  }
}
