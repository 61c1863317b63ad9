import Foundation
import NeedletailBundle
import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport
import NeedletailYAML
import Testing

@testable import NeedletailModels
@testable import NeedletailTraining

@Suite struct PublishTests {
  private let directory: TemporaryDirectory
  private var store: String { directory.file("store") }

  init() throws { directory = try TemporaryDirectory() }

  private func train(_ sets: String..., csv: String? = nil) throws -> TrainedModel {
    try directory.write(csv ?? Synthetic.classesCSV(rows: 300, seed: 1), to: "data.csv")
    let run = try RunConfiguration(
      yaml: Synthetic.classesRun, file: "run.yaml", directory: directory.path, sets: sets)
    return try TrainingRun(run).run()
  }

  private func target(_ model: String = "kinds", key: String? = nil, version: UInt64? = nil) throws -> PublishTarget {
    try PublishTarget(model: ModelID(model), store: store, key: key, version: version)
  }

  private func publish(_ trained: TrainedModel) throws -> ModelVersion {
    let target = try target()
    let first = try target.version()
    return try target.publish(trained.encode(version: first, signing: []), version: first) {
      (version) throws(TrainingError) in try trained.encode(version: version, signing: [])
    }.version
  }

  // MARK: - early checks

  @Test func whatCannotBePublishedShowsBeforeTraining() throws {
    func message(_ make: () throws -> PublishTarget) -> String {
      do {
        _ = try make()
        return ""
      } catch {
        return "\(error)"
      }
    }
    let missing = directory.file("none.key")
    #expect(message { try target(key: missing) }.contains(missing))
    try directory.write("no key", to: "bad.key")
    #expect(message { try target(key: directory.file("bad.key")) }.contains("bad.key"))
    try directory.write("", to: "file")
    let inFile = directory.file("file")
    #expect(
      message { try PublishTarget(model: ModelID("kinds"), store: inFile, key: nil, version: nil) }
        == "\(inFile): expected a store that can be written, found: \(inFile)/kinds: not a directory")
    let below = inFile + "/store"
    #expect(
      message { try PublishTarget(model: ModelID("kinds"), store: below, key: nil, version: nil) }
        == "\(below): expected a store that can be written, found: \(below)/kinds: not a directory")
    try FileManager.default.createDirectory(atPath: store + "/kinds", withIntermediateDirectories: true)
    try directory.write("bundle", to: "store/kinds/7.ntb")
    #expect(message { try target(version: 7) }.hasSuffix("a published version is never changed"))
    #expect(try target().version().number == 8)
    #expect(message { try target("other", version: 7) }.isEmpty)
    #expect(!FileManager.default.fileExists(atPath: directory.file("store/other")), "looking makes nothing")
  }

  @Test func anOutputThatCannotBeWrittenShowsBeforeTraining() throws {
    try directory.write("", to: "file")
    let inFile = directory.file("file/out")
    #expect {
      try RunFiles(directory: inFile).prepare()
    } throws: { "\($0)" == "\(inFile): expected a directory to write into, found: \(inFile): not a directory" }
    try FileManager.default.createDirectory(
      atPath: directory.file("out/model.ntb"), withIntermediateDirectories: true)
    #expect {
      try RunFiles(directory: directory.file("out")).prepare()
    } throws: { "\($0)" == "\(directory.file("out/model.ntb")): expected a file to write, found a directory" }
    try RunFiles(directory: directory.file("a/b/c")).prepare()
    #expect(FileManager.default.fileExists(atPath: directory.file("a/b/c")))
    #expect {
      try OutputPath.checkFile(directory.file("none/report.html"))
    } throws: { "\($0)".hasSuffix("found: \(directory.file("none")): no such file or directory") }
  }

  @Test func aRecordThatCannotBeKeptShowsBeforeTraining() throws {
    try directory.write(Synthetic.classesCSV(rows: 60, seed: 1), to: "data.csv")
    try directory.write("no store", to: "runs.sqlite")
    let run = try RunConfiguration(
      yaml: Synthetic.classesRun, file: "run.yaml", directory: directory.path, sets: ["tracking.path=runs.sqlite"])
    #expect {
      _ = try RunRecorder(run, files: RunFiles(directory: directory.file("out"))) { _ in }
    } throws: { "\($0)".contains("expected an experiment store that can be written") }
  }

  // MARK: - versions

  @Test func publishesAtOnceTakeAVersionEach() async throws {
    let trained = try train("training.epochs=1")
    let path = try directory.write(try trained.encode(version: .first, signing: []), to: "model.ntb")
    let store = store
    let versions = try await withThrowingTaskGroup(of: UInt64.self) { group in
      for _ in 0..<12 {
        group.addTask {
          try Publishing.republish(path: path, store: store, key: nil, version: nil).version.number
        }
      }
      return try await group.reduce(into: []) { $0.append($1) }
    }
    #expect(versions.sorted() == Array(1...12))
    for version in versions {
      let file = "\(store)/kinds/\(version).ntb"
      #expect(try BundleContents.read(file).0.version.number == version)
    }
  }

  @Test func aVersionThatWasAskedForIsNotReplacedByAnother() throws {
    let trained = try train("training.epochs=1")
    let target = try target(version: 3)
    let bytes = try trained.encode(version: target.version(), signing: [])
    func publish() throws {
      _ = try target.publish(bytes, version: target.version()) { (_) throws(TrainingError) in bytes }
    }
    try publish()
    #expect(throws: TrainingError.self) { try publish() }
  }

  // MARK: - better than what serves

  private func incumbent(_ metric: String, gainMin: Double = 0) throws -> Incumbent? {
    try Incumbent(of: ModelID("kinds"), store: store, PublishCondition(metric: metric, gainMin: gainMin))
  }

  @Test func onlyABetterModelIsPublished() throws {
    let weak = try train("training.epochs=1", "training.learning_rate=1e-6")
    let strong = try train()
    #expect(try incumbent("accuracy") == nil, "nothing serves yet")
    #expect(try publish(weak).number == 1)
    let first = try #require(try incumbent("accuracy"))
    let better = try first.compare(with: strong)
    // The same rows judged it when it was trained.
    #expect(better.servingFigure == weak.testFigures.first { $0.name == "accuracy" }?.value)
    #expect(better.figure == strong.testFigures.first { $0.name == "accuracy" }?.value)
    #expect(better.isBetter && better.rows == 45 && better.rowsRefused == 0)
    try better.check()
    let huge = try #require(try incumbent("accuracy", gainMin: 0.99)).compare(with: strong)
    #expect(!huge.isBetter)
    #expect(try publish(strong).number == 2)
    let second = try #require(try incumbent("log_loss"))
    let worse = try second.compare(with: weak)
    #expect(!worse.isBetter && worse.gain < 0 && second.version.number == 2)
    #expect {
      try worse.check()
    } throws: { error in
      (error as? TrainingError)?.kind == .refused
        && "\(error)".hasPrefix("not published: expected it to be better, found log_loss ")
        && "\(error)".hasSuffix("of version 2, which serves, on 45 rows")
    }
    #expect(try !second.compare(with: strong).isBetter, "the same model is not better than itself")
  }

  @Test func theVersionThatServesIsTheOneOfTheOrders() throws {
    let trained = try train("training.epochs=1")
    for _ in 1...3 { _ = try publish(trained) }
    #expect(try incumbent("accuracy")?.version.number == 3)
    for (orders, version) in [
      ("serve: 2\n", 2), ("labels: { stable: 1 }\n", 1), ("serve: latest\n", 3),
      ("labels: { stable: 1, new: 3 }\nsplit: { stable: 90, new: 10 }\n", 1),
    ] as [(String, UInt64)] {
      try directory.write(orders, to: "store/kinds/rollout.yaml")
      #expect(try incumbent("accuracy")?.version.number == version, "\(orders)")
    }
    try directory.write("serve: none\n", to: "store/kinds/rollout.yaml")
    #expect(try incumbent("accuracy") == nil, "a retired model is no rival")
    try directory.write("serv: 1\n", to: "store/kinds/rollout.yaml")
    #expect { _ = try incumbent("accuracy") } throws: { "\($0)".contains("rollout.yaml") }
  }

  /// The trainer does not contain the control plane, and has to agree with it.
  @Test(arguments: [
    "serve: 2", "serve: latest", "serve: none", "serve: [3, 1]", "labels: { stable: 1 }",
    "labels: { stable: 1, new: 3 }\nserve: 2", "labels: { stable: 1, new: 3 }\nserve: latest",
    "labels: { stable: 1, new: 3 }\nsplit: { stable: 10, new: 90 }", "split: { 1: 10, 2: 90 }",
    "serve: 1\nsplit: { 1: 10, 2: 90 }", "serve: [3, 1]\nsplit: { 1: 50, 2: 50 }",
    "serve: latest\nsplit: { 1: 50, 2: 50 }", "shadow: 3", "keep: 2",
    "labels: { stable: 4 }\nsplit: { 1: 70, 2: 30 }",
    "split: { 1: 50, 2: 50 }\nexperiment: { metric: accuracy }",
  ]) func theTrainerPrefersTheVersionThatTheServerPrefers(orders: String) throws {
    let policy = try RolloutFile(parsing: orders).policy
    let found = try ServingOrders(YAMLNode.parse(orders, file: "rollout.yaml"))
    #expect(found.preferred?.first == policy.preferred?.first)
    #expect((found.preferred == nil) == (policy.preferred == nil))
  }

  @Test func aModelThatCannotBeComparedIsRefusedBeforeItIsTrained() throws {
    _ = try publish(train("training.epochs=1"))
    #expect { _ = try incumbent("acuracy") } throws: { "\($0)".contains("did you mean \"accuracy\"?") }
    #expect { _ = try incumbent("rmse") } throws: { "\($0)".contains("expected a figure for classification") }
    #expect { _ = try incumbent("accuracy", gainMin: -1) } throws: { "\($0)".contains("--min-gain") }
    let serving = try #require(try incumbent("accuracy"))
    func fault(_ csv: String, _ sets: String...) throws -> String {
      try directory.write(csv, to: "data.csv")
      let run = try RunConfiguration(
        yaml: Synthetic.classesRun, file: "run.yaml", directory: directory.path, sets: sets)
      var isFitting = false
      let observer = RunObserver(stage: { if $0.hasPrefix("fitting") { isFitting = true } })
      do {
        _ = try TrainingRun(run, observer: observer, incumbent: serving).run()
        return ""
      } catch {
        #expect(!isFitting)
        return "\(error)"
      }
    }
    let csv = Synthetic.classesCSV(rows: 300, seed: 1)
    #expect(try fault(csv, "data.drop=[colour]").contains("found no column \"colour\""))
    #expect(
      try fault(csv.replacingOccurrences(of: "left", with: "up")).contains(
        "found the class \"up\", which it does not know"))
    let numbers = csv.replacingOccurrences(of: "left", with: "1.5").replacingOccurrences(of: "right", with: "2")
    #expect(
      try fault(numbers, "target.task=regression").contains("a classification, found a regression"))
    #expect(try fault(csv).isEmpty)
  }

  @Test func aModelOfOtherColumnsIsComparedOnTheSameRows() throws {
    _ = try publish(train("data.drop=[colour]", "training.epochs=1"))
    // Here y is a category, and was a number.
    let other = try train(
      "features.columns.y.type=categorical", "features.columns.y.missing=most_frequent", "training.epochs=3")
    let comparison = try #require(try incumbent("accuracy")).compare(with: other)
    #expect(comparison.rows == 45 && comparison.rowsRefused == 0)
  }

  @Test func aBundleIsComparedOnAFileOfRows() throws {
    let weak = try train("training.epochs=1", "training.learning_rate=1e-6")
    let strong = try train()
    _ = try publish(weak)
    let path = try directory.write(try strong.encode(version: .first, signing: []), to: "model.ntb")
    let data = HeldOutRows(path: try directory.write(Synthetic.classesCSV(rows: 100, seed: 8), to: "held.csv"))
    let condition = try PublishCondition(metric: "accuracy", gainMin: 0)
    let published = try Publishing.republish(
      path: path, store: store, key: nil, version: nil, condition: condition, data: data)
    #expect(published.version.number == 2 && published.comparison?.rows == 100)
    #expect {
      _ = try Publishing.republish(path: path, store: store, key: nil, version: nil, condition: condition, data: data)
    } throws: { ($0 as? TrainingError)?.kind == .refused }
    #expect(!FileManager.default.fileExists(atPath: store + "/kinds/3.ntb"))
  }

  @Test func aRunIsTrainedAndThenPublished() throws {
    let trained = try train("training.epochs=1", "tracking.path=runs.sqlite")
    let files = RunFiles(directory: directory.file("out"))
    let recorder = try RunRecorder(trained.configuration, files: files) { Issue.record("\($0)") }
    let store = try ExperimentStore(path: directory.file("runs.sqlite"))
    recorder.finish(trained, files: files, version: .first, bundleBytes: 1)
    #expect(try store.runs().map(\.state) == [.trained])
    recorder.publish(version: try #require(ModelVersion(4)), path: "store/kinds/4.ntb", comparison: nil)
    let run = try #require(try store.run(directory: files.absolutePath))
    #expect(run.state == .published && run.version == 4 && run.message == "published as store/kinds/4.ntb")
    #expect(try store.metrics(of: run.id).contains { $0.key == "test.accuracy" })
  }
}
