import Foundation
import NeedletailCore
import NeedletailTestSupport
import Testing

@testable import NeedletailTraining

@Suite struct ExperimentStoreTests {
  private let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  private var path: String { directory.file("data/runs.sqlite") }

  @Test func aRunReadsBackAsItWasWritten() throws {
    let store = try ExperimentStore(path: path)
    let run = try store.begin(model: "churn", family: "mlp", configuration: "model: {}\n")
    try store.add(parameters: [("model.hidden", "[16]"), ("note", "é 'x'")], to: run)
    try store.add([RunMetric("loss", step: 1, 0.5), RunMetric("loss", step: 2, .nan)], to: run)
    #expect(try store.run(run).state == .running)
    try store.finish(
      run, .finished, metrics: [RunMetric("test.auc", 0.75)],
      artifacts: [RunArtifact(name: "model.ntb", path: "/x/model.ntb", bytes: 7)], directory: "/x",
      dataSHA256: "ab", version: 3)
    let again = try ExperimentStore(path: path)
    let record = try again.run(run)
    #expect(record.state == .finished && record.version == 3 && record.directory == "/x")
    #expect(record.endedMilliseconds ?? 0 >= record.startedMilliseconds)
    #expect(record.configuration == "model: {}\n")
    #expect(try again.parameters(of: run).map(\.value) == ["[16]", "é 'x'"])
    let metrics = try again.metrics(of: run)
    #expect(metrics.map(\.key) == ["loss", "loss", "test.auc"])
    #expect(metrics[0].value == 0.5 && metrics[1].value.isNaN && metrics[2].value == 0.75)
    #expect(try again.artifacts(of: run) == [RunArtifact(name: "model.ntb", path: "/x/model.ntb", bytes: 7)])
  }

  @Test func trialsBelongToTheirStudyAndGoWithIt() throws {
    let store = try ExperimentStore(path: path)
    let other = try store.begin(model: "a", family: "mlp")
    let study = try store.begin(kind: "study", model: "a", family: "gbdt")
    let trials = try (0..<3).map { _ in
      try store.begin(kind: "trial", model: "a", family: "gbdt", parent: study)
    }
    try store.add([RunMetric("objective", 1)], to: trials[0])
    #expect(try store.runs().map(\.id) == [other, study])
    #expect(try store.runs(parent: study).map(\.id) == trials)
    #expect(try store.runs(last: 1).map(\.id) == [study])
    #expect(try store.runs(model: "b").isEmpty)
    try store.delete([study])
    #expect(try store.runs(parent: study).isEmpty)
    #expect(try store.metrics(of: trials[0]).isEmpty)
    // A number is never given twice.
    #expect(try store.begin(model: "a", family: "mlp") > trials[2])
  }

  @Test func deletesAllOrNone() throws {
    let store = try ExperimentStore(path: path)
    let run = try store.begin(model: "a", family: "mlp")
    let error = #expect(throws: TrainingError.self) { try store.delete([run, 99]) }
    #expect(error?.message.contains("expected run 99, found none of that number") == true)
    #expect(try store.runs().count == 1)
  }

  @Test func aRunOfAProcessThatIsGoneIsLost() throws {
    let store = try ExperimentStore(path: path)
    let run = try store.begin(model: "a", family: "mlp")
    let database = try SQLiteDatabase(path: path, busyMilliseconds: 1000)
    var parts = ProcessIdentity.own.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
    #expect(!ProcessIdentity.isGone(ProcessIdentity.own))
    parts[4] = "1"
    try database.run("UPDATE runs SET process = ?", [.text(parts.joined(separator: " "))])
    #expect(try store.run(run).state == .lost)
    // Another machine's processes cannot be seen from here.
    parts[0] = "elsewhere"
    try database.run("UPDATE runs SET process = ?", [.text(parts.joined(separator: " "))])
    #expect(try store.run(run).state == .running)
  }

  @Test func manyThreadsWriteAtOnce() async throws {
    let store = try ExperimentStore(path: path)
    let study = try store.begin(kind: "study", model: "a", family: "gbdt")
    try await withThrowingTaskGroup(of: Void.self) { group in
      for worker in 0..<4 {
        let own = worker % 2 == 0 ? store : try ExperimentStore(path: path)
        group.addTask {
          for value in 0..<25 {
            let trial = try own.begin(kind: "trial", model: "a", family: "gbdt", parent: study)
            try own.finish(trial, .finished, metrics: [RunMetric("objective", Double(value))])
          }
        }
      }
      try await group.waitForAll()
    }
    let trials = try store.runs(parent: study)
    #expect(trials.count == 100 && trials.allSatisfy { $0.state == .finished })
  }

  @Test func refusesFilesThatAreNoStore() throws {
    try directory.write(
      "no database, but long enough to be looked at as one: " + String(repeating: "x", count: 200), to: "text")
    let text = #expect(throws: TrainingError.self) { try ExperimentStore(path: directory.file("text")) }
    #expect(
      text?.message.contains("expected an experiment store that can be written, found: file is not a database") == true)
    let foreign = try SQLiteDatabase(path: directory.file("foreign"), busyMilliseconds: 0)
    try foreign.run("CREATE TABLE t (x)")
    let other = #expect(throws: TrainingError.self) { try ExperimentStore(path: directory.file("foreign")) }
    #expect(other?.message.contains("a SQLite file of another program") == true)
    _ = try ExperimentStore(path: path)
    try SQLiteDatabase(path: path, busyMilliseconds: 0).run("PRAGMA user_version = 7")
    let newer = #expect(throws: TrainingError.self) { try ExperimentStore(path: path) }
    #expect(newer?.message.contains("layout 7 of a newer trainer") == true)
  }

  @Test func aTransactionThatFailsLeavesNothing() throws {
    let database = try SQLiteDatabase(path: directory.file("t"), busyMilliseconds: 0)
    try database.run("CREATE TABLE t (x INTEGER UNIQUE)")
    #expect(throws: SQLiteError.self) {
      try database.transaction { () throws(SQLiteError) in
        try database.run("INSERT INTO t VALUES (1)")
        try database.run("INSERT INTO t VALUES (1)")
      }
    }
    #expect(try database.run("SELECT count(*) FROM t") == [[.integer(0)]])
  }

  @Test func listsAndComparesRuns() throws {
    let store = try ExperimentStore(path: path)
    for (depth, auc) in [("4", 0.7), ("6", 0.8)] {
      let run = try store.begin(model: "churn", family: "gbdt")
      try store.add(parameters: [("model.depth", depth), ("seed", "1")], to: run)
      try store.add([RunMetric("validation.auc", step: 1, 0.5)], to: run)
      try store.finish(run, .finished, metrics: [RunMetric("test.auc", auc)])
    }
    let listing = RunListing(store)
    let list = try listing.list(parent: nil, model: nil, last: 10).text(.plain)
    #expect(list.contains("test.auc 0.7000") && list.contains("test.auc 0.8000"))
    let comparison = try listing.comparison(of: [1, 2])
    #expect(comparison.document["parameters"].entries.map(\.key) == ["model.depth"])
    #expect(comparison.document["metrics"]["test.auc"].elements == [.number(0.7), .number(0.8)])
    let details = try listing.details(of: 2)
    #expect(details.document["curves"]["validation.auc"].elements == [.list([.integer(1), .number(0.5)])])
    #expect(details.text(.plain).contains("model.depth"))
  }

  @Test func theParametersOfARunAreItsSettings() throws {
    let run = try RunConfiguration(yaml: Synthetic.classesRun, file: "run.yaml", directory: directory.path)
    let parameters = Dictionary(
      uniqueKeysWithValues: RunRecorder.parameters(run.document).map { ($0.key, $0.value) })
    #expect(parameters["model.hidden"] == "[16]")
    #expect(parameters["training.learning_rate"] == "0.01")
    #expect(parameters["features.columns.y.missing"] == "mean")
    #expect(parameters["target.column"] == "kind")
  }
}
