import Foundation
import Testing

@testable import NeedletailCore

@Suite struct WordingTests {
  @Test(
    arguments: [
      (0, "now"), (999, "now"), (1_000, "1 s ago"), (119_000, "119 s ago"), (120_000, "2 min ago"),
      (7_200_000, "2 h ago"), (172_800_000, "2 d ago"),
    ] as [(UInt64, String)])
  func saysAges(milliseconds: UInt64, text: String) {
    #expect(MessageFormat.age(since: 5, now: 5 + milliseconds) == text)
  }

  @Test func aClockThatWentBackSaysNow() {
    #expect(MessageFormat.age(since: 10_000, now: 1) == "now")
  }

  @Test(
    arguments: [
      (1, "1 µs"), (999, "999 µs"), (1000, "1 ms"), (1250, "1.25 ms"), (12_340, "12.3 ms"), (99_990, "100 ms"),
      (1_500_000, "1.5 s"),
    ] as [(UInt32, String)])
  func saysDurations(microseconds: UInt32, text: String) {
    #expect(MessageFormat.duration(microseconds: microseconds) == text)
  }

  @Test(arguments: [
    (0, "0"), (0.05, "0.05"), (9.999, "10"), (12.34, "12.3"), (1250, "1,250"), (1e6, "1,000,000"),
    (1e30, "18,446,744,073,709,551,615"),
  ])
  func saysRates(rate: Double, text: String) {
    #expect(MessageFormat.rate(rate) == text)
  }

  @Test(arguments: [(0, "0 %"), (1, "100 %"), (0.0005, "<0.1 %"), (0.001, "0.1 %"), (0.0475, "4.8 %")])
  func saysShares(share: Double, text: String) {
    #expect(MessageFormat.share(share) == text)
  }

  @Test(
    arguments: [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 20, "5 MiB"), (3 << 30, "3 GiB")]
      as [(UInt64, String)])
  func saysBytes(bytes: UInt64, text: String) {
    #expect(MessageFormat.bytes(bytes) == text)
  }

  @Test func quotesForJSONEscapeEveryControl() {
    #expect("a\"b\\c\n\t\r\u{1}\u{7F}\u{9B}\u{2028}é".jsonQuoted == #""a\"b\\c\n\t\r\u0001\u007f\u009b\u2028é""#)
  }
}
