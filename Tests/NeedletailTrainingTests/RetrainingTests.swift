import Foundation
import NeedletailBundle
import NeedletailCSV
import NeedletailCore
import NeedletailTestSupport
import Testing

@testable import NeedletailTraining

@Suite("Retraining") struct RetrainingTests {
  private let directory: TemporaryDirectory
  private var store: String { directory.file("store") }

  init() throws { directory = try TemporaryDirectory() }

  /// Rows of y = slope × x + 1.
  private static func csv(rows: Int, slope: Double) -> String {
    var random = SplitMix64(seed: UInt64(rows))
    let lines = (0..<rows).map { _ -> String in
      let x = Double(random.next() % 1000) / 100
      return "\(x),\(slope * x + 1)"
    }
    return "x,y\n" + lines.joined(separator: "\n") + "\n"
  }

  private func configuration(_ sets: String...) throws -> RunConfiguration {
    try RunConfiguration.load(path: try runFile(), sets: sets)
  }

  private func runFile() throws -> String {
    try directory.write(Self.csv(rows: 300, slope: 2), to: "data.csv")
    return try directory.write(
      """
      data: {files: [data.csv], duplicates: keep}
      target: {column: y, task: regression}
      model: {family: linear_regression}
      publish: {model: line}
      """, to: "run.yaml")
  }

  private func write(_ csv: String, to name: String) throws -> String { try directory.write(csv, to: name) }

  private func lines(_ name: String) throws -> [String] {
    try String(contentsOfFile: directory.file(name), encoding: .utf8).split(separator: "\n").map(String.init)
  }

  private func cut(_ fresh: FreshRows, _ sets: String...) throws -> FreshRows.Parts {
    try fresh.cut(for: try RunConfiguration.load(path: try runFile(), sets: sets), into: directory.path)
  }

  @Test func theLastRowsJudgeAndTheOthersAreLearnedFrom() throws {
    let rows = (0..<200).map { "call-\($0),\($0),\(1000 + $0),guess" }
    let path = try write("call,truth,x,y\n" + rows.joined(separator: "\n") + "\n", to: "recent.csv")
    let parts = try cut(FreshRows(paths: [path], outcome: "truth", windowShare: 0.25))
    #expect(parts.learnedRows == 150 && parts.windowRows == 50 && parts.unlabelled == 0)
    #expect(try lines("fresh.csv") == ["x,y"] + (0..<150).map { "\(1000 + $0),\($0)" })
    #expect(try lines("window.csv") == ["x,y"] + (150..<200).map { "\(1000 + $0),\($0)" })
  }

  @Test func rowsWithoutOutcomeAreLeftOut() throws {
    let rows = (0..<100).map { "\($0),\($0 % 4 == 0 ? ($0 % 8 == 0 ? "" : " NA ") : "5")" }
    let path = try write("x,y\n" + rows.joined(separator: "\n") + "\n", to: "recent.csv")
    let parts = try cut(FreshRows(paths: [path], windowShare: 1), "data.missing=[NA]")
    #expect(parts.windowRows == 75 && parts.unlabelled == 25 && parts.learned == nil && parts.learnedRows == 0)
    #expect(parts.sentence == "recent rows: 0 to learn from, 75 to judge, 25 without outcome")
  }

  @Test func severalFilesAreOneTable() throws {
    let first = try write("x;y\n" + (0..<60).map { "\($0);1" }.joined(separator: "\n") + "\n", to: "a.csv")
    let second = try write("y,x\n" + (60..<120).map { "2,\($0)" }.joined(separator: "\n") + "\n", to: "b.csv")
    let parts = try cut(FreshRows(paths: [first, second], windowShare: 0.5))
    #expect(parts.learnedRows == 60)
    #expect(try lines("window.csv").dropFirst().allSatisfy { $0.hasSuffix(",2") })
  }

  @Test func aRunFileOfSemicolonsGetsSuchRows() throws {
    let run = try runFile()
    try directory.write("x;y\n1;2\n2;4\n3;6\n", to: "data.csv")
    let path = try write(
      "x,y\n" + (0..<100).map { "\($0),\"a;b\($0)\"" }.joined(separator: "\n") + "\n", to: "recent.csv")
    _ = try FreshRows(paths: [path], windowShare: 0.5).cut(
      for: try RunConfiguration.load(path: run, sets: ["data.delimiter=semicolon"]), into: directory.path)
    #expect(try lines("fresh.csv")[1] == "0;\"a;b0\"")
  }

  @Test func tooFewRowsAndMissingColumnsAreSaid() throws {
    func message(_ csv: String, outcome: String? = nil, _ sets: String...) throws -> String {
      let path = try write(csv, to: "recent.csv")
      do {
        _ = try FreshRows(paths: [path], outcome: outcome, windowShare: 0.3).cut(
          for: try RunConfiguration.load(path: try runFile(), sets: sets), into: directory.path)
        return ""
      } catch {
        return "\(error)"
      }
    }
    let rows = (0..<50).map { "\($0),\($0)" }.joined(separator: "\n")
    #expect(
      try message("x,y\n\(rows)\n").hasSuffix(
        "expected at least 30 rows with \"y\" in the window, found 15: 0.3 of 50"))
    #expect(try message("x,z\n\(rows)\n").contains("found none named \"y\""))
    #expect(try message("x,y\n\(rows)\n", outcome: "outcome").contains("found none named \"outcome\""))
    #expect(try message("x,y\n\(rows)\n", "data.quote=single").contains("data.quote"))
    #expect(try message("x,y\n").contains("expected at least one row"))
  }

  // MARK: - the whole way

  private func publishFirst() throws {
    let target = try PublishTarget(model: ModelID("line"), store: store, key: nil, version: nil)
    let trained = try TrainingRun(try configuration()).run()
    _ = try target.publish(trained.encode(version: .first, signing: []), version: .first) {
      (version) throws(TrainingError) in try trained.encode(version: version, signing: [])
    }
  }

  private func retrain(_ csv: String, only: Bool = false) throws -> (ServingComparison, TrainedModel, Incumbent) {
    let condition = try PublishCondition(metric: "rmse", gainMin: 0)
    let incumbent = try #require(try Incumbent(of: ModelID("line"), store: store, condition))
    let run = try runFile()
    let recent = try write(csv, to: "recent.csv")
    let parts = try FreshRows(paths: [recent], windowShare: 0.3).cut(
      for: try RunConfiguration.load(path: run, sets: []), into: directory.path)
    let configuration = try RunConfiguration.load(path: run, sets: [], fresh: parts.learned, only: only)
    let trained = try TrainingRun(configuration, incumbent: incumbent, parent: incumbent.digest).run()
    let window = HeldOutRows(path: parts.window, target: configuration.request.target)
    return (try incumbent.compare(with: trained, on: window), trained, incumbent)
  }

  @Test func aModelOfAWorldThatHasChangedIsBetter() throws {
    try publishFirst()
    let (comparison, trained, incumbent) = try retrain(Self.csv(rows: 400, slope: -3), only: true)
    #expect(comparison.isBetter && comparison.version.number == 1 && comparison.rows == 120)
    // The new one finds the line; the old one is off by 5x, whose mean square over 0 to 10 is 25 × 100 / 3.
    #expect(comparison.figure < 0.01)
    #expect(abs(comparison.servingFigure - 28.9) < 3)
    #expect(trained.contents.lineage?.parent == incumbent.digest)
    #expect(incumbent.digest.count == 64)
  }

  @Test func rowsOfTheRunFileCountToo() throws {
    try publishFirst()
    let (_, both, _) = try retrain(Self.csv(rows: 400, slope: -3))
    // 300 old rows and 280 recent ones, of which the run's own split leaves some for validation and test.
    #expect(both.data.dataset.rowCount == 580)
    let (_, only, _) = try retrain(Self.csv(rows: 400, slope: -3), only: true)
    #expect(only.data.dataset.rowCount == 280)
  }

  @Test func aModelThatIsNoBetterIsRefused() throws {
    try publishFirst()
    let (comparison, _, _) = try retrain(Self.csv(rows: 400, slope: 2))
    if !comparison.isBetter {
      #expect { try comparison.check() } throws: { ($0 as? TrainingError)?.kind == .refused }
    }
    #expect(comparison.figure < 0.01 && comparison.servingFigure < 0.01)
  }

  @Test func aPathMayHoldAnything() throws {
    let fresh = try write(Self.csv(rows: 50, slope: 1), to: "it's [a], {b}: #c.csv")
    let configuration = try RunConfiguration.load(path: try runFile(), sets: [], fresh: fresh, only: true)
    #expect(configuration.request.files.map(\.path) == [fresh])
    #expect(configuration.model.name == "line")
  }
}
