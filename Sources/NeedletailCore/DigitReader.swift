/// Reads runs of decimal digits, eight at a time in one word.
///
/// No byte outside of the text is read: what is left of fewer than eight bytes is loaded together with bytes before it,
/// or in two parts that overlap.
struct DigitReader {
  /// Digits whose value fits 64 bits.
  static let exactDigitsMax = 19

  private let start: UnsafeRawPointer
  private let end: UnsafeRawPointer
  private var next: UnsafeRawPointer
  /// Digits taken, zeros in front included.
  private(set) var count = 0
  /// The digits as one number; meaningless where they are more than ``exactDigitsMax``.
  private(set) var value: UInt64 = 0

  @inline(__always)
  init(_ start: UnsafeRawPointer, count: Int) {
    self.start = start
    end = start + count
    next = start
  }

  /// Bytes before the next one.
  @inline(__always)
  var offset: Int { next - start }

  @inline(__always)
  var isNotAtEnd: Bool { next < end }

  /// Takes one byte if it is the next.
  @inline(__always)
  mutating func take(_ byte: UInt8) -> Bool {
    guard next < end, next.load(as: UInt8.self) == byte else { return false }
    next += 1
    return true
  }

  /// Takes a sign, if there is one, without a branch: the signs of a column are hard to predict.
  ///
  /// - Precondition: the text is not empty, and nothing was taken.
  /// - Returns: the sign's bit of a Double.
  @inline(__always)
  mutating func takeSign() -> UInt64 {
    let first = next.load(as: UInt8.self)
    // 0x2B is plus, and 0x2D minus.
    next += (first &- 0x2B) & ~2 == 0 ? 1 : 0
    return first == 0x2D ? 1 << 63 : 0
  }

  /// Takes all digits up to another byte or the end, and appends them to ``value``.
  @inline(__always)
  mutating func takeDigits() {
    while next < end {
      // A digit becomes its value, 0 to 9, and any other byte more than that. So does the padding.
      let bytes = word() ^ 0x3030_3030_3030_3030
      let others = Self.others(bytes)
      guard others != 0 else {
        append(bytes, digits: 8, scale: 100_000_000)
        continue
      }
      let digits = others.trailingZeroBitCount >> 3
      // Zeros in front replace what is no digit.
      if digits > 0 { append(bytes &<< UInt64(64 &- 8 &* digits), digits: digits, scale: Self.scales[digits]) }
      return
    }
  }

  /// The next eight bytes, the first in the lowest bits, with zeros behind the end.
  ///
  /// - Precondition: there is a byte.
  @inline(__always)
  private func word() -> UInt64 {
    let left = end - next
    if end - start >= 8 {
      let before = max(8 &- left, 0)
      return UInt64(littleEndian: (next - before).loadUnaligned(as: UInt64.self)) &>> UInt64(8 &* before)
    }
    func byte(_ index: Int) -> UInt64 {
      UInt64(next.load(fromByteOffset: index, as: UInt8.self)) &<< UInt64(8 &* index)
    }
    func four(_ index: Int) -> UInt64 {
      UInt64(UInt32(littleEndian: next.loadUnaligned(fromByteOffset: index, as: UInt32.self))) &<< UInt64(8 &* index)
    }
    return left >= 4 ? four(0) | four(left - 4) : byte(0) | byte(left / 2) | byte(left - 1)
  }

  /// - Parameter bytes: values of eight digits, the first in the lowest bits.
  @inline(__always)
  private mutating func append(_ bytes: UInt64, digits: Int, scale: UInt64) {
    value = value &* scale &+ Self.number(bytes)
    count &+= digits
    next += digits
  }

  /// The highest bit of each byte from 10. A carry reaches only bytes behind the first such one.
  @inline(__always)
  private static func others(_ bytes: UInt64) -> UInt64 {
    ((bytes &+ 0x7676_7676_7676_7676) | bytes) & 0x8080_8080_8080_8080
  }

  /// The number of eight digits, the first in the lowest bits.
  @inline(__always)
  private static func number(_ bytes: UInt64) -> UInt64 {
    // Neighbours become pairs of digits, which are summed up with their powers of 100: Lemire, "Quickly parsing eight
    // digits" (2022).
    let pairs = bytes &* 10 &+ (bytes &>> 8)
    let low = (pairs & 0x0000_00FF_0000_00FF) &* 0x000F_4240_0000_0064
    let high = ((pairs &>> 16) & 0x0000_00FF_0000_00FF) &* 0x0000_2710_0000_0001
    return (low &+ high) &>> 32
  }

  /// Reads a number of at most eight digits and a point, with or without a sign, from one word: most numbers of tables.
  ///
  /// - Returns: nil for every other text, whether it is a number or not.
  @inline(__always)
  static func shortNumber(_ text: UnsafeRawBufferPointer) -> Double? {
    guard let start = text.baseAddress, text.count > 0, text.count <= 9 else { return nil }
    var reader = DigitReader(start, count: text.count)
    let sign = reader.takeSign()
    let left = reader.end - reader.next
    guard left > 0, left <= 8 else { return nil }
    // Zeros stand before the text, and its last byte in the highest bits.
    let bytes = (reader.word() ^ 0x3030_3030_3030_3030) &<< UInt64(64 &- 8 &* left)
    let others = others(bytes)
    guard others != 0 else { return Double(bitPattern: Double(number(bytes)).bitPattern ^ sign) }
    // The point, which is the only byte that is no digit, is closed up by what stands before it.
    let bits = UInt64((others.trailingZeroBitCount >> 3) &* 8)
    guard others & (others &- 1) == 0, (bytes &>> bits) & 0xFF == 0x2E ^ 0x30, left > 1 else { return nil }
    let whole = (bytes & ~(~0 &<< bits)) &<< 8
    let fraction = bytes & ((~0 &<< bits) &<< 8)
    let value = Double(number(whole | fraction)) / powersOfTen[7 &- Int(bits >> 3)]
    return Double(bitPattern: value.bitPattern ^ sign)
  }

  private static let powersOfTen: InlineArray<8, Double> = [1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7]
  private static let scales: InlineArray<8, UInt64> = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000]
}
