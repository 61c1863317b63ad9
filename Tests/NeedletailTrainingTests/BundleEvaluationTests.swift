import Foundation
import NeedletailBundle
import NeedletailCore
import NeedletailTestSupport
import Testing

@testable import NeedletailTraining

@Suite struct BundleEvaluationTests {
  private let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  /// A model of the synthetic classes: `y` may be missing, any colour is taken.
  private func bundle() throws -> String {
    try directory.write(Synthetic.classesCSV(rows: 300, seed: 1), to: "data.csv")
    let run = try RunConfiguration(
      yaml: Synthetic.classesRun, file: "run.yaml", directory: directory.path,
      sets: ["features.columns.colour.unknown=refuse"])
    return try directory.write(try TrainingRun(run).run().encode(version: .first, signing: []), to: "model.ntb")
  }

  private func report(
    _ csv: String, subgroups: [String] = [], target: String? = nil, weight: String? = nil
  ) throws -> Document {
    let data = try directory.write(csv, to: "labelled.csv")
    return try BundleEvaluation(
      bundle: try bundle(), data: data, target: target, subgroups: subgroups, weight: weight
    ).report()
  }

  @Test func judgesRowsThatTheModelNeverSaw() throws {
    // The columns stand in another order, one is no feature, and the truth has another name and other spelling.
    let rows = Synthetic.classesCSV(rows: 100, seed: 9).split(separator: "\n").dropFirst().map { line in
      let cells = line.split(separator: ",", omittingEmptySubsequences: false)
      return
        "\(cells[3] == "left" ? " left " : cells[3]),\(cells[2]),\(cells[0]),\(cells[1]),\(cells[3] == "left" ? 1 : 2)"
    }
    let report = try report(
      "side,colour,x,y,site\n" + rows.joined(separator: "\n") + "\n", subgroups: ["site"], target: "side")
    #expect(report["rows"]["test"].integer == 100)
    #expect(report["test"]["accuracy"].number ?? 0 > 0.95)
    #expect(report["target"].text == "side")
    let groups = report["subgroups"].elements[0]["groups"].elements
    #expect(groups.map { $0["group"].text } == ["1", "2"])
    #expect(groups.map { $0["rows"].integer } == [50, 50])
    #expect(ReportPage(report).html.contains("<section id=\"subgroups\">"))
  }

  @Test func rowsCountByTheirWeights() throws {
    // Rows of weight 2 stand for two rows each, and rows of weight 0 for none.
    let rows = Synthetic.classesCSV(rows: 60, seed: 9).split(separator: "\n").dropFirst().enumerated()
      .map { $0 % 5 > 0 ? $1 : $1.hasSuffix("left") ? $1.dropLast(4) + "right" : $1.dropLast(5) + "left" }
    let header = "x,y,colour,kind,w\n"
    let weighted = try report(
      header + rows.enumerated().map { "\($1),\($0 % 3)\n" }.joined(), subgroups: ["colour"], weight: "w")
    let repeated = try report(
      header + rows.enumerated().flatMap { [String](repeating: "\($1),1\n", count: $0 % 3) }.joined(),
      subgroups: ["colour"])
    for figure in repeated["test"].entries {
      let found = try #require(weighted["test_weighted"][figure.key].number)
      #expect(abs(found - (figure.value.number ?? .nan)) < 1e-12, "\(figure.key)")
    }
    #expect(weighted["weights"]["column"].text == "w")
    #expect(weighted["by_weight"]["classes"].elements.map { $0["f1"] } == repeated["classes"].elements.map { $0["f1"] })
    for key in ["averages", "confusion", "roc", "precision_recall", "areas", "calibration", "thresholds"] {
      #expect(Self.areEqual(weighted["by_weight"][key], repeated[key]), "\(key)")
    }
    let groups = weighted["subgroups"].elements[0]["groups"].elements
    for group in repeated["subgroups"].elements[0]["groups"].elements {
      let found = try #require(groups.first { $0["group"] == group["group"] })
      #expect(found["weight"].number == group["rows"].number)
      #expect(Self.areEqual(found["figures_weighted"], group["figures"]))
    }
    let page = ReportPage(weighted).html
    #expect(page.contains("Rows count by the column w") && page.contains("Confusion matrix by weight"))
    let error = #expect(throws: TrainingError.self) {
      try report(header + rows.map { "\($0),-1\n" }.joined(), weight: "w")
    }
    #expect(error?.message.contains("column \"w\": expected a weight from 0, found \"-1\"") == true)
  }

  /// True where both have the same shape and names, and numbers that differ by less than 1e-12.
  private static func areEqual(_ a: Document, _ b: Document) -> Bool {
    if let x = a.number, let y = b.number { return abs(x - y) < 1e-12 }
    guard a.entries.map(\.key) == b.entries.map(\.key), a.elements.count == b.elements.count else { return false }
    let isLeaf = a.entries.isEmpty && a.elements.isEmpty
    return isLeaf
      ? a == b
      : zip(a.entries, b.entries).allSatisfy { areEqual($0.value, $1.value) }
        && zip(a.elements, b.elements).allSatisfy { areEqual($0, $1) }
  }

  @Test func rowsWithoutTruthAndRowsThatTheModelRefusesAreCounted() throws {
    let csv = Synthetic.classesCSV(rows: 20, seed: 9) + "1,2,red,\n1,2,purple,left\n"
    let report = try report(csv)
    #expect(report["rows"]["read"].integer == 22)
    #expect(report["rows"]["test"].integer == 20)
    let warnings = report["warnings"].elements.compactMap(\.text)
    #expect(warnings.count == 2)
    #expect(warnings[0].hasPrefix("1 rows are refused by the model and not judged: "), "\(warnings)")
    #expect(warnings[1] == "1 rows have no truth and are not judged")
  }

  @Test(arguments: [
    ("x,y,colour\n1,2,red\n", "labelled.csv:1: column \"kind\": expected a column of that name, found none"),
    ("x,y,kind\n1,2,left\n", "labelled.csv:1: column \"colour\": expected a column of that name, found none"),
    (
      "x,y,colour,kind\n1,2,red,up\n",
      "labelled.csv:2: column \"kind\": expected a class of the model, such as \"left\""
    ),
    (
      "x,y,colour,kind\n1,2,red,left\nzwei,2,red,left\n",
      "labelled.csv:3: column \"x\": expected a number, found \"zwei\""
    ),
    ("x,y,colour,kind\n1,2,red,\n", "expected truths, found only missing values"),
    ("x,y,colour,kind\n1,2,red,left\n1,2,pink,left\n1,2,pink,left\n", "found that it refuses 2 of 3"),
    ("x,y,colour,kind\n", "expected at least one row"),
  ])
  func refusesTablesThatItCannotJudge(csv: String, message: String) throws {
    let error = #expect(throws: TrainingError.self) { try report(csv) }
    #expect(error?.message.contains(message) == true, "\(error?.message ?? "")")
  }

  @Test func refusesWhatIsNoBundle() throws {
    let path = try directory.write("no bundle", to: "model.txt")
    let error = #expect(throws: TrainingError.self) { try BundleEvaluation(bundle: path, data: "x.csv").report() }
    #expect(error?.message.hasPrefix(path) == true)
  }
}
