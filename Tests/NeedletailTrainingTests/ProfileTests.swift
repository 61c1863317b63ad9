import Foundation
import NeedletailTestSupport
import Testing

@testable import NeedletailTraining

/// Expected figures are those of pandas, NumPy, SciPy and scikit-learn, as the comments say.
@Suite struct ProfileTests {
  private let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  private func profile(
    _ csv: String, target: String? = nil, annotators: (String, String)? = nil
  ) throws -> TableProfile {
    let path = try directory.write(csv, to: "data.csv")
    return try TableProfile(name: "data.csv", path: path, target: target, annotators: annotators)
  }

  @Test func figuresOfNumbersAreThoseOfPandas() throws {
    // pandas: s = pd.Series([2.5, 1, 7.25, 7.25, 100, 3, 0, -4, 12.5, 6]); s.mean(), s.std(), s.skew(),
    // s.quantile([.05, .25, .5, .75, .95])
    let values = ["2.5", "1", "7.25", "7.25", "100", "3", "0", "-4", "12.5", "6", ""]
    let profile = try profile("x,c\n" + values.enumerated().map { "\($0.element),\($0.offset % 2)\n" }.joined())
    let column = try #require(profile.columns.first)
    let numbers = try #require(column.numbers)
    #expect(column.missing == 1 && column.distinct == 9 && column.rows == 11)
    #expect(numbers.minimum == -4 && numbers.maximum == 100 && numbers.zeros == 1)
    #expect(abs(numbers.mean - 13.55) < 1e-12)
    #expect(abs(numbers.deviation - 30.720243054594043) < 1e-9)
    #expect(abs(numbers.skew - 3.0313635176197153) < 1e-9)
    for (found, expected) in zip(numbers.quantiles, [-2.2, 1.375, 4.5, 7.25, 60.62499999999991]) {
      #expect(abs(found - expected) < 1e-12)
    }
    #expect(numbers.histogram == [6, 3, 0, 0, 0, 0, 0, 0, 0, 1])
  }

  @Test func kappaIsThatOfScikitLearn() throws {
    // sklearn: cohen_kappa_score(a, b) over the eight rows that have both.
    let (a, b) = (
      ["x", "x", "y", "z", "y", "x", "z", "y", "", "x"], ["x", "y", "y", "z", "x", "x", "z", "z", "x", ""]
    )
    let csv = "a,b,n\n" + zip(a, b).enumerated().map { "\($0.element.0),\($0.element.1),\($0.offset)\n" }.joined()
    let agreement = try #require(try profile(csv, annotators: ("a", "b")).annotators?.agreement)
    #expect(agreement.rows == 8 && agreement.observed == 0.625)
    #expect(abs(agreement.kappa - 0.4418604651162791) < 1e-12)
    let error = #expect(throws: TrainingError.self) { try profile(csv, annotators: ("a", "c")) }
    #expect(error?.message.hasPrefix("--annotators: expected a column of data.csv, found \"c\"") == true)
  }

  @Test func correlationsAreThoseOfSciPy() throws {
    // scipy.stats.pearsonr([1, 2, 3, 4, 5], [2, 1, 4, 3, 7]) and contingency.association(table, "cramer").
    let found = Association.pearson([1, 2, .nan, 3, 4, 5], [2, 1, 9, 4, 3, 7])
    #expect(abs(try #require(found) - 0.8241633836921339) < 1e-12)
    let cramer = Association.cramer([0, 0, 0, 1, 1, 1, 2, 2, -1], [0, 0, 1, 1, 1, 0, 1, 1, 0])
    #expect(abs(try #require(cramer) - 0.53748384988657) < 1e-12)
    #expect(Association.pearson([1, 1], [1, 2]) == nil)
  }

  @Test func aColumnThatTellsTheTargetIsALeak() throws {
    var random = RandomSource(seed: 6)
    let rows = (0..<2000).map { _ -> String in
      let y = random.normal()
      return "\(random.normal()),\(y * 3 + 1),\(y > 0 ? "up" : "down"),\(random.index(below: 5)),\(y)\n"
    }
    let profile = try profile("noise,copy,sign,digit,y\n" + rows.joined(), target: "y")
    let powers = Dictionary(uniqueKeysWithValues: profile.powers.map { ($0.column, $0.power) })
    #expect(powers["copy"]! > 0.98 && powers["noise"]! < 0.01 && powers["digit"]! < 0.01)
    // The sign of a normal number tells 2/π of its variance.
    #expect(abs(powers["sign"]! - 2 / .pi) < 0.05)
    #expect(profile.alerts.filter { $0.kind == .leakage }.map(\.columns) == [["copy"]])
  }

  @Test func aCategoryOfManyLevelsIsNoLeakByChance() throws {
    var random = RandomSource(seed: 7)
    let rows = (0..<2000).map { row in "u\(row / 2),\(random.index(below: 2) == 0 ? "a" : "b")\n" }
    #expect(try profile("user,t\n" + rows.joined(), target: "t").powers[0].power < 0.1)
  }

  @Test func repeatedAndNearlyRepeatedRowsAreCounted() throws {
    let rows = (0..<100).map { "\($0 * 37 % 101),\($0 * 53 % 103),w\($0 * 17 % 97)\n" }
    let csv = "a,b,c\n" + rows.joined() + rows[3] + rows[3] + "5000,53,w17\n"
    let profile = try profile(csv)
    #expect(profile.duplicates.exact == 2)
    // The last row is row 1 but for its first column.
    #expect(profile.duplicates.near == 2)
    #expect(profile.alerts.map(\.kind).contains(.duplicates))
  }

  @Test func theQualityIsTheProductOfItsThreeShares() throws {
    // Four columns with 4 of 16 cells empty, one of four rows repeated, one column of four constant.
    let profile = try profile("a,b,c,d\n1,x,,k\n1,x,,k\n3,y,,k\n4,z,5,\n")
    #expect(profile.completeness == 0.75 && profile.uniqueness == 0.75)
    #expect(abs(profile.quality - 100 * 0.75 * 0.75 * profile.usability) < 1e-9)
  }

  @Test func everyLineFitsATerminalAndJSONSaysTheSame() throws {
    let rows = (0..<300).map { row in
      "\(row),\(Double(row * row) / 7),2024-01-\(row % 28 + 1),\(["Red", "red", "a very long name of a colour that nobody reads"][row % 3]),\(row % 11 == 0 ? "" : "\(row % 5)"),\(row % 2 == 0)\n"
    }
    let profile = try profile("id,a_column_with_quite_a_long_name,day,colour,gaps,t\n" + rows.joined(), target: "t")
    let text = profile.render(.plain)
    #expect(text.split(separator: "\n").allSatisfy { $0.count <= 80 }, "\(text)")
    let json = try JSONSerialization.jsonObject(with: Data(profile.document.json.utf8)) as? [String: Any]
    #expect((json?["columns"] as? [Any])?.count == 6 && json?["rows"] as? Int == 300)
    #expect((json?["alerts"] as? [[String: Any]])?.contains { $0["kind"] as? String == "spellings" } == true)
  }

  @Test func textsThatAModelCanHardlyLearnFromAreCounted() throws {
    let faulty: [(String, String)] = [
      ("two words", "short"), ("A  Fine text number 7 ", "repeated"), ("a fine <b>bold</b> text", "markup"),
      ("fish &amp; chips &#39;n peas", "markup"), ("a caf\u{FFFD} in the north", "garbled"),
      ("the caf\u{C3}\u{A9} in town", "garbled"), ("it\u{E2}\u{20AC}\u{2122}s a quote here", "garbled"),
      ("a bell \u{7} rings in here", "controls"),
    ]
    let fine =
      (0..<40).map { "a fine text number \($0)" } + [
        "3 < 5 and 7 > 2 here", "the café, a naïve façade", "he & she ; they said",
      ]
    let rows = (fine + faulty.map(\.0)).enumerated().map { "\"\($0.element)\",\($0.offset % 2)\n" }
    let profile = try profile("note,t\n" + rows.joined(), target: "t")
    let quality = try #require(profile.columns[0].quality)
    #expect(quality.texts == fine.count + faulty.count)
    for (name, count) in quality.faults { #expect(count == faulty.count { $0.1 == name }, "\(name)") }
    #expect(quality.faulty == faulty.count)
    #expect(abs(quality.score - 100 * Double(fine.count) / Double(quality.texts)) < 1e-9)
    #expect(profile.columns[1].quality == nil)
    #expect(profile.alerts.count { $0.kind == .text } == 5)
    let text = profile.render(.plain)
    #expect(text.contains("quality  words") && text.split(separator: "\n").allSatisfy { $0.count <= 80 }, "\(text)")
    #expect(profile.document.json.contains("\"text_quality\""))
  }
}
