import Foundation
import NeedletailCore
import Testing

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
