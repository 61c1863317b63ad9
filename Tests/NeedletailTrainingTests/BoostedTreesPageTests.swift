import Foundation
import NeedletailCore
import NeedletailTestSupport
import Testing

@testable import NeedletailTraining

/// Holds the handbook's page about trees to the code.
@Suite struct BoostedTreesPageTests {
  private func page() throws -> String {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    return try String(
      contentsOf: root.appending(path: "Sources/Handbook/Handbook.docc/BoostedTrees.md"), encoding: .utf8)
  }

  @Test func thePageNamesEverySettingWithItsDefault() throws {
    let page = try page()
    for family: any ModelFamily in [GBDT(), RandomForest()] {
      for (section, settings) in [("model", family.modelSettings), ("training", family.trainingSettings)] {
        for setting in settings {
          let fallback = setting.fallback.inlineYAML.replacing(/\.0$/, with: "")
          let line = "| `\(section).\(setting.key)` | \(fallback) | \(setting.summary) |"
          #expect(page.contains(line), "\(family.name): \(line)")
        }
      }
    }
  }

  @Test func theRunFilesOfThePageTrain() throws {
    let directory = try TemporaryDirectory()
    var csv = "area,rooms,age,region,price,sold,visits,relevance,query,weight\n"
    var random = RandomSource(seed: 9)
    for row in 0..<400 {
      let (area, rooms, age) = (50 + 30 * abs(random.normal()), 1 + random.index(below: 6), random.index(below: 80))
      let price = 3 * area - Double(age) + 20 * random.normal()
      let cells: [Any] = [
        area, row % 9 == 0 ? "" : "\(rooms)", age, ["north", "south", "west"][row % 3], price,
        price > 200 ? "yes" : "no", random.index(below: rooms + 2), random.index(below: 4), "q\(row / 8)",
        1 + row % 3,
      ]
      csv += cells.map { "\($0)" }.joined(separator: ",") + "\n"
    }
    try directory.write(csv, to: "rows.csv")
    var families: [String] = []
    for block in try page().split(separator: "```yaml\n").dropFirst() {
      let yaml = String(try #require(block.split(separator: "```").first))
      let run = try RunConfiguration(
        yaml: yaml, file: "run.yaml", directory: directory.path, sets: ["model.trees=8"])
      let trained = try TrainingRun(run).run()
      #expect(!trained.testFigures.isEmpty, "\(yaml)")
      families.append(run.family.name)
    }
    #expect(families.count == 7 && families.contains("random_forest"))
  }
}
