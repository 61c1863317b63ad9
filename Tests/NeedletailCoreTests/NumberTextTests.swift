import Foundation
import Testing

@testable import NeedletailCore

@Suite("Numbers as text") struct NumberTextTests {
  private func parse(_ text: String) -> Double? { NumberText.parse(text) }

  @Test(arguments: [
    "0", "-0", "1", "+7", "3.25", ".5", "5.", "1e3", "1E-7", "-2.5e+10", "123456789012345678901234567890",
    "0.1", "2.2250738585072014e-308", "1.7976931348623157e308", "4.9e-324", "9007199254740993", "  42\t",
    "0.000000000000000000000000000000123456789123456789", "1e400", "1e-400",
  ])
  func agreesWithTheStandardLibrary(text: String) throws {
    let trimmed = text.trimmingCharacters(in: .whitespaces)
    let expected = try #require(Double(trimmed.hasSuffix(".") ? trimmed + "0" : trimmed))
    #expect(parse(text)?.bitPattern == expected.bitPattern)
  }

  /// Texts that other readers got wrong, with the bits of the nearest Double.
  @Test(
    arguments: [
      // Paxson, "A Program for Testing IEEE Decimal-Binary Conversion" (1991): nearly halfway between two.
      ("5e125", 0x5A07_A2EC_C414_A03F), ("69e267", 0x77C0_B7CB_60C9_94DA), ("7e-27", 0x3A81_54C6_F013_F48E),
      // Halfway between two: the even one.
      ("9007199254740993", 0x4340_0000_0000_0000), ("9007199254740995", 0x4340_0000_0000_0002),
      ("9007199254740993.00000000000000000001", 0x4340_0000_0000_0001),
      ("900719925474099.3e1", 0x4340_0000_0000_0000), ("1125899906842624.125", 0x4310_0000_0000_0000),
      ("1125899906842624.375", 0x4310_0000_0000_0002), ("1152921504606847104", 0x43B0_0000_0000_0000),
      // Went round for ever in PHP, and in Java.
      ("2.2250738585072011e-308", 0x000F_FFFF_FFFF_FFFF), ("2.2250738585072012e-308", 0x0010_0000_0000_0000),
      ("1e23", 0x44B5_2D02_C7E1_4AF6), ("8.5e22", 0x44B1_FFDB_F6B2_B2EB),
      ("1.7976931348623159e308", 0x7FF0_0000_0000_0000),
      ("18446744073709551615", 0x43F0_0000_0000_0000), ("9999999999999999999", 0x43E1_58E4_6091_3D00),
      ("0.30000000000000004", 0x3FD3_3333_3333_3334), ("-0.0", 0x8000_0000_0000_0000),
    ] as [(String, UInt64)])
  func roundsHardCasesToTheNearest(text: String, bits: UInt64) {
    #expect(parse(text)?.bitPattern == bits)
  }

  /// Every length and every place of the point, for words of eight bytes are cut there.
  @Test func readsEveryLengthWithThePointAnywhere() throws {
    let digits = "90817263549081726354"
    for length in 1...digits.count {
      for point in 0...length {
        for sign in ["", "-", "+"] {
          let text = sign + digits.prefix(point) + "." + digits.prefix(length).dropFirst(point)
          let expected = try #require(Double(text.hasSuffix(".") ? text + "0" : text))
          #expect(parse(text) == expected, "\(text)")
        }
        var broken = Array(digits.prefix(length).utf8)
        for byte in [UInt8(ascii: "/"), UInt8(ascii: ":"), 0, 0x7F, 0x80, 0x8A, 0xFF] where point < length {
          broken[point] = byte
          #expect(broken.withUnsafeBufferPointer { NumberText.parse($0) } == nil, "byte \(byte) at \(point)")
        }
      }
    }
  }

  @Test func readsNothingBesideTheField() {
    let line = Array("99999999-12.5,99999999".utf8)
    line.withUnsafeBufferPointer { line in
      for end in 10...13 {
        let field = UnsafeBufferPointer(rebasing: line[8..<end])
        #expect(NumberText.parse(field) == Double(String(decoding: field, as: UTF8.self).dropLastPoint))
      }
    }
  }

  @Test func roundTripsRandomDoubles() {
    var random = SplitMix64(seed: 3)
    for _ in 0..<20_000 {
      let value = Double(bitPattern: random.next())
      guard value.isFinite else { continue }
      #expect(parse("\(value)")?.bitPattern == value.bitPattern)
    }
  }

  @Test(arguments: [
    "", " ", "-", "+", ".", "e5", "1e", "1e+", "0x10", "inf", "nan", "1,5", "1 2", "1.2.3", "--1", "1f",
  ])
  func refusesWhatIsNoDecimalNumber(text: String) {
    #expect(parse(text) == nil)
  }

  @Test func textLongerThanAnyNumberIsNone() {
    let zeros = String(repeating: "0", count: NumberText.bytesMax - 1)
    #expect(parse(zeros + "7") == 7)
    #expect(parse(zeros + "07") == nil)
  }

  @Test(arguments: [("true", true), ("False", false), (" TRUE\t", true), ("tru", nil), ("1", nil), ("", nil)])
  func readsTruthValuesInAnyCase(text: String, value: Bool?) {
    #expect(Array(text.utf8).withUnsafeBufferPointer { NumberText.parseBool($0) } == value)
  }
}

extension String {
  /// The text without a point at its end, which the standard library takes for no number.
  fileprivate var dropLastPoint: String { hasSuffix(".") ? String(dropLast()) : self }
}
