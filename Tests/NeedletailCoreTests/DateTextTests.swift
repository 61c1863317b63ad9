import Foundation
import NeedletailCore
import Testing

/// Expected seconds are those of Python's `datetime`.
@Suite struct DateTextTests {
  @Test(arguments: [
    ("2024-02-29", 1_709_164_800.0), ("2024/02/29", 1_709_164_800), ("2024.2.29", 1_709_164_800),
    ("20240229", 1_709_164_800), ("1999-12-31 23:59:59", 946_684_799), ("1999-12-31T23:59:59Z", 946_684_799),
    ("2024-03-01T12:30", 1_709_296_200), ("2024-03-01 12:30 PM", 1_709_296_200),
    ("2024-03-01 12:30 UTC", 1_709_296_200), ("2024-03-31T12:30:45.25", 1_711_888_245.25),
    ("2024-03-31T12:30:45,25Z", 1_711_888_245.25), ("2024-03-31T12:30:00+02:00", 1_711_881_000),
    ("2024-03-31T12:30:00+0200", 1_711_881_000), ("2024-03-31 05:00:00-05:30", 1_711_881_000),
    ("2024-03-31T12:30+02", 1_711_881_000), ("1600-02-29", -11_670_998_400), ("0001-01-01", -62_135_596_800),
    ("9999-12-31 23:59:59", 253_402_300_799), ("1969-07-20 20:17:40", -14_182_940), ("1 Mar 2024", 1_709_251_200),
    ("Mar 1, 2024", 1_709_251_200), ("March 1 2024", 1_709_251_200), ("1-MAR-2024", 1_709_251_200),
    ("01-Mar-24", 1_709_251_200), ("March 2024", 1_709_251_200), ("2024-03", 1_709_251_200),
    ("2024-Mar-01", 1_709_251_200), (" 2024-03-01\t", 1_709_251_200), ("14:30", 52_200), ("2:30 pm", 52_200),
    ("12:00 AM", 0), ("14:30:15.5", 52_215.5), ("1709251200", 1_709_251_200), ("-14182940.5", -14_182_940.5),
  ])
  func readsDatesThatNeedNoOrder(text: String, seconds: Double) {
    for order in DateOrder.allCases { #expect(DateText.parse(text, order: order) == seconds) }
  }

  @Test(arguments: [
    ("3/1/2024", 1_704_240_000.0, 1_709_251_200.0), ("03.01.2024", 1_704_240_000, 1_709_251_200),
    ("3-1-24", 1_704_240_000, 1_709_251_200), ("03/01/2024 00:00", 1_704_240_000, 1_709_251_200),
  ])
  func theOrderSaysWhatStandsFirst(text: String, dayFirst: Double, monthFirst: Double) {
    #expect(DateText.parse(text, order: .dayFirst) == dayFirst)
    #expect(DateText.parse(text, order: .monthFirst) == monthFirst)
    #expect(DateText.parse(text, order: .yearFirst) == nil)
  }

  @Test func twoDigitsOfAYearAreOfTheCenturyThatPOSIXSays() {
    #expect(DateText.parse("5.1.68", order: .dayFirst) == 3_092_947_200)
    #expect(DateText.parse("5.1.69", order: .dayFirst) == -31_190_400)
  }

  @Test(arguments: [
    "", "x", "2024", "12", "1.5", "2023-02-29", "2024-13-01", "2024-00-10", "0000-01-01", "10000-01-01", "2024-03-01T",
    "2024-03-01 25:00", "2024-03-01 12:60", "2024-03-01T12:30:61", "2024-03-01 13:00 PM", "2024-03-01 1230",
    "2024-03-01T12:30+99:00", "2024-03-01x", "2024-03-01 12:30 CEST", "1/2", "1.2.3.4", "3/1-2024", "May",
    "12 Foo 2024",
    "1e12", "99999999999999", "2012-2013", "192.168.0.1", "-", "--5", String(repeating: "9", count: 70),
    "Marchhh 1 2024", "20241301", "14:5", "12:30:",
  ])
  func textThatIsNoDateIsNone(text: String) {
    for order in DateOrder.allCases { #expect(DateText.parse(text, order: order) == nil, "\(text)") }
  }

  @Test func everyDayReadsBackFromItsText() {
    for day in stride(from: -719_162, through: 2_932_896, by: 487) {
      let seconds = Double(day) * 86_400 + 12_345
      for order in DateOrder.allCases { #expect(DateText.parse(DateText.text(seconds), order: order) == seconds) }
    }
    #expect(DateText.text(1_711_888_245.25) == "2024-03-31T12:30:45.25")
    #expect(DateText.text(-0.5) == "1969-12-31T23:59:59.5")
    for seconds in [1_711_888_245.123_456, 0.000_1, 0.999_999_9] {
      #expect(DateText.parse(DateText.text(seconds), order: .yearFirst) == seconds)
    }
  }

  @Test func bytesThatAreNoDateNeverTrap() {
    var random = SplitMix64(seed: 8)
    let alphabet = Array("0123456789-/.: TtZz+,APMampmarJunsept\u{00E9}".utf8)
    for _ in 0..<20_000 {
      let bytes = (0..<Int.random(in: 0..<24, using: &random)).map { _ in alphabet.randomElement(using: &random)! }
      bytes.withUnsafeBytes { bytes in
        for order in DateOrder.allCases {
          guard let seconds = DateText.parse(bytes, order: order) else { continue }
          #expect(DateText.range.contains(seconds))
        }
      }
    }
  }
}
