import Foundation
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import Testing

@testable import NeedletailTraining

@Suite struct RowSelectionTests {
  private let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  /// Classes around x = −2 and x = 2; y, which is often missing, and the colour tell nothing.
  private func bundle(_ family: String = "logistic_regression", task: String = "classification") throws -> String {
    try directory.write(Synthetic.classesCSV(rows: 400, seed: 1), to: "data.csv")
    let target = task == "regression" ? "x" : "kind"
    let run = try RunConfiguration(
      yaml: """
        data: { files: [data.csv] }
        features: { missing: median, unknown: zeros }
        target: { column: \(target), task: \(task) }
        model: { family: \(family) }
        publish: { model: kinds }
        """, file: "run.yaml", directory: directory.path)
    return try directory.write(try TrainingRun(run).run().encode(version: .first, signing: []), to: "model.ntb")
  }

  /// Rows that the model is sure of, and those given.
  private func pool(_ more: [String]) throws -> String {
    var random = RandomSource(seed: 5)
    var lines = (0..<60).map { row in
      "id\(row),\((row % 2 == 0 ? -3 : 3) + random.normal() * 0.2),\(random.normal() * 0.1),red"
    }
    lines.insert(contentsOf: more, at: 20)
    return try directory.write("id,x,y,colour\n" + lines.joined(separator: "\n") + "\n", to: "pool.csv")
  }

  private func select(
    _ bundle: String, _ data: String, count: Int = 1, change: (inout RowSelection.Settings) -> Void = { _ in }
  ) throws -> SelectedRows {
    var settings = RowSelection.Settings()
    settings.count = count
    change(&settings)
    return try RowSelection(bundle: bundle, data: data, settings).run()
  }

  // MARK: - measures

  @Test(arguments: [
    (RowSelection.Uncertainty.entropy, 0.8112781), (.margin, 0.5), (.leastConfidence, 0.25),
  ]) func measuresAreThoseOfTheLiterature(measure: RowSelection.Uncertainty, quarter: Double) {
    #expect(abs(measure([0.25, 0.75][...]) - quarter) < 1e-6)
    #expect(measure([0, 1, 0][...]) == 0)
    #expect(abs(RowSelection.Uncertainty.entropy([0.25, 0.25, 0.25, 0.25][...]) - 1) < 1e-9)
  }

  @Test(arguments: RowSelection.Uncertainty.allCases)
  func theRowBetweenTheClassesIsChosenFirst(measure: RowSelection.Uncertainty) throws {
    let data = try pool(["doubtful,0.0,0,red"])
    let selected = try select(bundle(), data) {
      $0.strategy = .uncertainty
      $0.uncertainty = measure
    }
    #expect(selected.chosen.map(\.record) == [20])
    #expect(try #require(selected.chosen[0].confidence) < 0.75)
  }

  @Test(arguments: ["logistic_regression", "gbdt", "mlp"])
  func theRowUnlikeAllOthersIsAmongTheFirstTwo(family: String) throws {
    let data = try pool(["far,3.0,40,blue"])
    let selected = try select(bundle(family), data, count: 2) { $0.strategy = .diversity }
    #expect(selected.chosen.map(\.record).contains(20))
    #expect(selected.chosen[0].distance == nil && selected.chosen[1].distance ?? 0 > 1)
  }

  @Test func twinsOfADoubtfulRowAreNotChosenBesideIt() throws {
    let doubtful = (0..<10).map { "twin\($0),0.0,0,red" } + ["other,0.0,2.5,blue"]
    let data = try pool(doubtful)
    let bundle = try bundle()
    let byUncertainty = try select(bundle, data, count: 2) { $0.strategy = .uncertainty }
    #expect(byUncertainty.chosen.allSatisfy { (20..<31).contains($0.record) })
    let both = try select(bundle, data, count: 2)
    #expect(both.chosen.map(\.record).contains(30) && both.chosen.count { (20..<30).contains($0.record) } == 1)
  }

  @Test func rowsThatWereLabelledBeforeAreCovered() throws {
    let data = try pool(["far,3.0,40,blue"])
    try directory.write("x,y,colour\n3.0,40,blue\n", to: "labelled.csv")
    let selected = try select(bundle(), data, count: 5) {
      $0.strategy = .diversity
      $0.labelled = directory.file("labelled.csv")
    }
    #expect(!selected.chosen.map(\.record).contains(20))
    #expect(selected.chosen.allSatisfy { $0.distance != nil })
  }

  @Test func coverageIsThatOfGonzalez() {
    // Points of a line: the middle, then the ends, then the largest gap.
    let points: [Float] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 20]
    let chosen = Coverage(points, columns: 1).greedy(count: 4, known: [], weights: [])
    #expect(chosen.map(\.row) == [6, 9, 0, 3])
    #expect(chosen.map(\.distance) == [nil, 14, 6, 3])
    #expect(Coverage(points, columns: 1).greedy(count: 99, known: [], weights: []).count == 10)
    let weighted = Coverage(points, columns: 1).greedy(
      count: 2, known: [], weights: [0, 0, 0, 1, 0, 0, 0, 0, 0.5, 0.01])
    #expect(weighted.map(\.row) == [3, 8])
  }

  @Test func aWideRowKeepsItsDistancesWhenItIsProjected() throws {
    let categories = (0..<2000).map { "c\($0)" }
    let definition = ModelDefinition(
      schema: FeatureSchema(
        features: [
          Feature(name: "c", kind: .categorical(categories: categories, unknown: .zeros), missing: .refuse),
          Feature(name: "x", kind: .numeric, missing: .refuse),
        ], target: "y"),
      graph: ModelGraph(task: .regression, values: [], nodes: [], outputs: [], tensors: []), labels: [])
    let rows: [[Cell]] = (0..<40).map { [.text("c\($0 * 50)"), .number(Double($0 % 2))] }
    let space = try FeatureSpace(definition, rows)
    #expect(space.columns == 256)
    let points = try space.points(rows)
    func squared(_ a: Int, _ b: Int) -> Double {
      (0..<256).reduce(0.0) { sum, column in
        let difference = Double(points[a * 256 + column] - points[b * 256 + column])
        return sum + difference * difference
      }
    }
    // Two categories are 1 apart, and the two numbers two standard deviations.
    let near = (1..<20).map { squared(0, $0 * 2) }
    let far = (0..<20).map { squared(0, $0 * 2 + 1) }
    #expect(abs(near.reduce(0, +) / 19 - 1) < 0.15 && abs(far.reduce(0, +) / 20 - 5) < 0.5)
  }

  // MARK: - files

  @Test func chosenRowsKeepTheirColumnsAndSayWhy() throws {
    let data = try pool(["\"doubt, ful\",0.0,0,red"])
    let selected = try select(bundle(), data, count: 2)
    try selected.write(to: directory.file("selected.csv"))
    let lines = try String(contentsOfFile: directory.file("selected.csv"), encoding: .utf8).split(separator: "\n")
    #expect(
      lines[0]
        == "id,x,y,colour,select_rank,select_row,select_uncertainty,select_distance,select_label,select_confidence")
    #expect(lines.count == 3)
    #expect(lines[1].hasPrefix("\"doubt, ful\",0.0,0,red,1,21,0.") && lines[2].contains(",2,"))
  }

  /// The form is that of the page "Import pre-annotated data into Label Studio".
  @Test func rowsThatTheModelIsSureOfBecomePredictionsForLabelStudio() throws {
    let data = try pool(["doubtful,0.0,0,red"])
    let selected = try select(bundle(), data, count: 1) { $0.confidenceMin = 0.95 }
    #expect(selected.chosen.map(\.record) == [20] && selected.prelabelled.count == 60)
    let path = directory.file("tasks.json")
    try selected.writeTasks(to: path, .init(control: "label", object: "row"))
    let tasks = try #require(
      try JSONSerialization.jsonObject(with: Data(contentsOf: URL(fileURLWithPath: path))) as? [[String: Any]])
    #expect(tasks.count == 61)
    #expect(tasks[0]["predictions"] == nil, "a doubtful row leads nobody")
    let first = try #require(tasks[1]["data"] as? [String: Any])
    #expect(first["id"] as? String == "id0" && (first["row"] as? [String: String])?["colour"] == "red")
    let predictions = try #require(tasks[1]["predictions"] as? [[String: Any]])
    #expect(predictions.count == 1 && predictions[0]["model_version"] as? String == "kinds 1")
    let score = try #require(predictions[0]["score"] as? Double)
    #expect(score >= 0.95 && score <= 1)
    let result = try #require((predictions[0]["result"] as? [[String: Any]])?.first)
    #expect(result["from_name"] as? String == "label" && result["to_name"] as? String == "row")
    #expect(result["type"] as? String == "choices")
    #expect((result["value"] as? [String: [String]])?["choices"] == ["left"])
    let configuration = selected.configuration(.init(control: "a<b", object: "row"))
    #expect(configuration.contains("<Choices name=\"a&lt;b\" toName=\"row\" choice=\"single\">"))
    #expect(configuration.contains("<Choice value=\"left\"/>") && configuration.contains("value=\"$row\""))
  }

  // MARK: - mistakes

  @Test func whatCannotBeSelectedIsSaid() throws {
    let bundle = try bundle()
    func message(_ data: String, _ change: (inout RowSelection.Settings) -> Void = { _ in }) -> String {
      do {
        _ = try select(bundle, data, change: change)
        return ""
      } catch {
        return "\(error)"
      }
    }
    let noColumn = try directory.write("x,y,colur\n1,2,red\n", to: "a.csv")
    #expect(message(noColumn).hasSuffix("expected a column of that name, found none, did you mean \"colur\"?"))
    let noNumber = try directory.write("x,y,colour\n1,2,red\nfast,2,red\n", to: "b.csv")
    #expect(message(noNumber) == "\(noNumber):3: column \"x\": expected a number, found \"fast\"")
    #expect(message(directory.file("none.csv")).contains("none.csv"))
    let regression = try self.bundle("linear_regression", task: "regression")
    let rows = try directory.write("kind,y,colour\nleft,2,red\nright,1,blue\n", to: "c.csv")
    #expect {
      _ = try select(regression, rows)
    } throws: { "\($0)" == "--by: expected diversity for a model that tells no probabilities, found both" }
    #expect(try select(regression, rows) { $0.strategy = .diversity }.chosen.count == 1)
  }
}
