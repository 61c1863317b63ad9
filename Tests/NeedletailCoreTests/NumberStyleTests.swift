import NeedletailCore
import Testing

@Suite struct NumberStyleTests {
  private func parse(_ text: String, _ style: NumberStyle) -> Double? {
    var text = text
    return text.withUTF8 { style.parse($0) }
  }

  @Test(arguments: [
    ("1,000", 1000.0), ("1,234,567.5", 1_234_567.5), ("$5.50", 5.5), ("-$5.50", -5.5), ("$-5.50", -5.5),
    ("($5.50)", -5.5),
    ("3%", 3), ("3 %", 3), ("€ 12", 12), ("12 EUR", 12), ("1000", 1000), ("1e3", 1000), ("+7", 7), (".5", 0.5),
    ("US$1,000.25", 1000.25), ("1.5E-3", 0.001_5), ("£0", 0), ("(7)", -7),
  ])
  func readsEnglishNumbers(text: String, number: Double) {
    #expect(parse(text, NumberStyle(thousands: .comma, allowsUnits: true)) == number)
  }

  @Test(arguments: [
    ("1.000", 1000.0), ("1.234.567,5", 1_234_567.5), ("5,50 €", 5.5), ("0,5", 0.5), ("-12,25", -12.25), ("3,5%", 3.5),
    ("1000,5", 1000.5),
  ])
  func readsNumbersWithADecimalComma(text: String, number: Double) {
    #expect(parse(text, NumberStyle(thousands: .point, hasDecimalComma: true, allowsUnits: true)) == number)
  }

  @Test(arguments: [
    ("1 000,5", NumberStyle.Thousands.space, true), ("1\u{A0}000,5", .space, true), ("1\u{202F}000,5", .space, true),
    ("1'000.5", .apostrophe, false), ("1\u{2019}000.5", .apostrophe, false), ("1 000.5", .space, false),
  ])
  func readsSpacesAndApostrophesBetweenThousands(text: String, thousands: NumberStyle.Thousands, hasComma: Bool) {
    #expect(parse(text, NumberStyle(thousands: thousands, hasDecimalComma: hasComma)) == 1000.5)
    #expect(parse(text, .plain) == nil)
  }

  @Test(arguments: [
    "1,00", "1,0000", ",000", "1,,000", "12,34,567", "1,000,", "$", "%", "$$5", "5$%", "()", "(-5)", "1 2", "a",
  ])
  func marksInOtherPlacesMakeNoNumber(text: String) {
    #expect(parse(text, NumberStyle(thousands: .comma, allowsUnits: true)) == nil)
  }

  @Test func aPointBetweenThousandsIsNeverADecimalPoint() {
    let style = NumberStyle(thousands: .point, hasDecimalComma: true)
    #expect(parse("1.234", style) == 1234)
    #expect(parse("1.5", style) == nil)
    #expect(parse("1.5", NumberStyle(thousands: .space, hasDecimalComma: true)) == 1.5)
  }

  @Test func marksThatCannotBeToldApartAreAFault() {
    #expect(NumberStyle(thousands: .comma, hasDecimalComma: true).fault != nil)
    #expect(NumberStyle(thousands: .point).fault != nil)
    #expect(NumberStyle(thousands: .space, hasDecimalComma: true).fault == nil)
  }

  @Test func valuesOfAModelAreReadInItsStyle() {
    let rules = ValueRules(missing: ["NA"], numbers: NumberStyle(thousands: .comma, allowsUnits: true))
    #expect(rules.number("$1,234.50") == .number(1234.5))
    #expect(rules.number("NA") == .missing)
    #expect(rules.number("1,23") == .notANumber)
    #expect(ValueRules().number("1,234") == .notANumber)
  }

  @Test func bytesThatAreNoNumberNeverTrap() {
    var random = SplitMix64(seed: 12)
    let alphabet = Array("0123456789,.' $€%()-+eEUR\u{A0}".utf8)
    for _ in 0..<20_000 {
      let bytes = (0..<Int.random(in: 0..<20, using: &random)).map { _ in alphabet.randomElement(using: &random)! }
      bytes.withUnsafeBufferPointer { bytes in
        for thousands in NumberStyle.Thousands.allCases {
          _ = NumberStyle(thousands: thousands, hasDecimalComma: true, allowsUnits: true).parse(bytes)
          _ = NumberStyle(thousands: thousands, allowsUnits: true).parse(bytes)
        }
      }
    }
  }
}
