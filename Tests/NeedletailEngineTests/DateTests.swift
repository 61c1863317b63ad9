import Foundation
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

/// A date with the day first, and a number with a comma between thousands.
private func orders() throws -> FeatureBinder {
  let schema = FeatureSchema(
    features: [
      Feature(name: "at", kind: .datetime(order: .dayFirst), missing: .impute),
      Feature(name: "price", kind: .numeric, missing: .refuse),
    ], target: "t", rules: ValueRules(missing: ["NA"], numbers: NumberStyle(thousands: .comma, allowsUnits: true)))
  return try FeatureBinder(schema, element: .float64)
}

@Suite struct DateTests {
  private func bind(_ cells: [Cell]) throws(ServingError) -> [Double] {
    var row = [0.0, 0.0]
    var failure: ServingError?
    guard let binder = try? orders() else { return [] }
    row.withUnsafeMutableBytes { row in
      do throws(ServingError) { try binder.bind(cells, into: row.baseAddress!) } catch { failure = error }
    }
    if let failure { throw failure }
    return row
  }

  @Test func datesBindAsSecondsFromTextAndFromNumbers() throws {
    #expect(try bind([.text("31.12.1999 23:59:59"), .text("$1,234.50")]) == [946_684_799, 1234.5])
    #expect(try bind([.text(" 1999-12-31T23:59:59Z"), .number(1)]) == [946_684_799, 1])
    #expect(try bind([.number(946_684_799.5), .text("(3)")]) == [946_684_799.5, -3])
    #expect(try bind([.text("NA"), .number(1)])[0].isNaN && bind([.missing, .number(1)])[0].isNaN)
  }

  @Test(arguments: [
    (
      Cell.text("12/31/1999"), Cell.number(1),
      "feature \"at\", row 0: expected a date or time, such as 2024-03-31T12:30:00 or 31.3.2024, of the years 1 to 9999, found \"12/31/1999\""
    ),
    (
      .number(1e12), .number(1),
      "feature \"at\", row 0: expected a date or time, such as 2024-03-31T12:30:00 or 31.3.2024, of the years 1 to 9999, found 1000000000000.0"
    ),
    (.number(0), .text("1,23"), "feature \"price\", row 0: expected a number, found \"1,23\""),
  ])
  func whatIsNoDateOrNumberIsNamed(at: Cell, price: Cell, message: String) {
    let error = #expect(throws: ServingError.self) { try bind([at, price]) }
    #expect(error?.message == message)
  }

  @Test func aDateNeedsRowsOfDoublePrecision() throws {
    let schema = try orders().schema
    let error = #expect(throws: PlanError.self) { try FeatureBinder(schema) }
    #expect(error?.message == "feature \"at\": expected bound rows of f64 for a date, found f32")
  }

  @Test func datePartsAreThoseOfTheCalendar() throws {
    var calendar = Calendar(identifier: .gregorian)
    calendar.timeZone = try #require(TimeZone(secondsFromGMT: 0))
    let type = ValueType(.float64, [2])
    let operation = DateParts(parts: [[], DatePart.allCases])
    var random = SplitMix64(seed: 20)
    // Before 1582 Foundation's calendar is the Julian one.
    var seconds = (0..<400).map { _ in Double(Int64(random.next() % 90_000_000_000)) - 11_000_000_000 }
    seconds += [0, -1, -86_400, 86_399, 951_782_400, 951_868_799, 4_107_542_400, 1_709_164_800, 253_402_300_799]
    let rows = seconds.enumerated().map { [Double($0.offset), $0.element] }
    let expected = rows.map { row -> [Double] in
      let date = Date(timeIntervalSince1970: row[1])
      func part(_ component: Calendar.Component) -> Double { Double(calendar.component(component, from: date)) }
      let dayOfYear = Double(calendar.ordinality(of: .day, in: .year, for: date) ?? 0)
      let daysInYear = Double(calendar.range(of: .day, in: .year, for: date)?.count ?? 0)
      let weekday = (part(.weekday) + 5).truncatingRemainder(dividingBy: 7)
      let day = (part(.hour) * 3600 + part(.minute) * 60 + part(.second)) / 86_400
      let (year, week) = ((dayOfYear - 1 + day) / daysInYear, (weekday + day) / 7)
      return [
        row[0], row[1], part(.year), part(.month), part(.day), weekday, dayOfYear, part(.hour), part(.minute),
        part(.second), sin(2 * .pi * year), cos(2 * .pi * year), sin(2 * .pi * week), cos(2 * .pi * week),
        sin(2 * .pi * day), cos(2 * .pi * day),
      ]
    }
    for isa in InstructionSet.supported {
      let node = try OneNode(operation, inputs: [type], output: ValueType(.float64, [16]), isa: isa)
      let found = stride(from: 0, to: rows.count, by: 64).flatMap {
        node.answers(Array(rows[$0..<min($0 + 64, rows.count)]))
      }
      let reference = rows.flatMap { operation.reference([$0], node.graph.context(of: 2))[0] }
      for (index, number) in expected.joined().enumerated() {
        // Cycles pass through 0, where only an absolute difference means something.
        #expect(abs(Double(found[index]) - number) <= max(1e-7, abs(number) * 1e-7))
        #expect(abs(reference[index] - number) <= 1e-9)
      }
    }
  }

  @Test func aMissingDateHasMissingPartsAndOthersStayWithinTheCalendar() {
    for part in DatePart.allCases { #expect(part.value(of: .nan).isNaN) }
    #expect(DatePart.year.value(of: -1e300) == 1 && DatePart.year.value(of: 1e300) == 9999)
    #expect(DatePart.second.value(of: -0.25) == 59.75 && DatePart.hour.value(of: -0.25) == 23)
  }
}
