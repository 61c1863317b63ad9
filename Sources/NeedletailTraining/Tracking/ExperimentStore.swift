internal import Foundation
internal import Glibc
internal import Synchronization

/// Runs with their parameters, metrics and artifacts, in one SQLite file that several processes may share.
///
/// Every call is one transaction: it takes effect whole, or throws and leaves the file as it was. A process that is
/// killed leaves a run that reads as `lost`. Calls block for as long as other processes write, 10 s at most; any thread
/// may make them.
///
/// A study of a tuner is a run of kind `study`, and each trial one of kind `trial` with the study as its parent; a
/// trial's objective is a metric of step 0, and its intermediate values are steps from 1:
///
///     let store = try ExperimentStore(path: path)
///     let study = try store.begin(kind: "study", model: "churn", family: "gbdt", configuration: yaml)
///     let trial = try store.begin(kind: "trial", model: "churn", family: "gbdt", parent: study)
///     try store.add(parameters: [("model.depth", "6")], to: trial)
///     try store.add([RunMetric("validation.auc", step: 1, 0.81)], to: trial)
///     try store.finish(trial, .finished, metrics: [RunMetric("validation.auc", 0.83)])
///     try store.runs(parent: study)
public final class ExperimentStore: Sendable {
  public let path: String
  /// Only touched while `lock` is held.
  nonisolated(unsafe) private let database: SQLiteDatabase
  private let lock = Mutex<Void>(())

  /// Marks the file as ours: "NTRN".
  static let applicationID = 0x4E54_524E
  /// Number of the layout of the tables.
  static let layout = 1
  static let busyMilliseconds: Int32 = 10_000

  private static let tables = [
    """
    CREATE TABLE runs (
      id INTEGER PRIMARY KEY AUTOINCREMENT, parent INTEGER REFERENCES runs (id) ON DELETE CASCADE, kind TEXT NOT NULL,
      model TEXT NOT NULL, family TEXT NOT NULL, state TEXT NOT NULL, started INTEGER NOT NULL, ended INTEGER,
      directory TEXT NOT NULL DEFAULT '', message TEXT NOT NULL DEFAULT '', configuration TEXT NOT NULL,
      data_sha256 TEXT NOT NULL DEFAULT '', version INTEGER, process TEXT NOT NULL) STRICT
    """,
    "CREATE INDEX runs_by_parent ON runs (parent)",
    """
    CREATE TABLE parameters (
      run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE, key TEXT NOT NULL, value TEXT NOT NULL,
      PRIMARY KEY (run, key)) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE metrics (
      run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE, key TEXT NOT NULL, step INTEGER NOT NULL,
      value REAL, time INTEGER NOT NULL, PRIMARY KEY (run, key, step)) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE artifacts (
      run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE, name TEXT NOT NULL, path TEXT NOT NULL,
      bytes INTEGER NOT NULL, PRIMARY KEY (run, name)) STRICT, WITHOUT ROWID
    """,
  ]

  /// Opens the store, or makes it and its directory.
  ///
  /// - Throws: `TrainingError` of kind `output` for a file that cannot be opened or written, or that is none of ours.
  public init(path: String) throws(TrainingError) {
    self.path = path
    let directory = URL(fileURLWithPath: path).deletingLastPathComponent().path
    try? FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    do throws(SQLiteError) {
      let database = try SQLiteDatabase(path: path, busyMilliseconds: Self.busyMilliseconds)
      try Self.prepare(database)
      self.database = database
    } catch {
      throw .output("\(path): expected an experiment store that can be written, found: \(error.description)")
    }
  }

  /// `$XDG_DATA_HOME/needletail/runs.sqlite`, or the same below `~/.local/share`; nil without a home.
  public static var defaultPath: String? {
    func directory(_ variable: String) -> String? {
      getenv(variable).map { String(cString: $0) }.flatMap { $0.hasPrefix("/") ? $0 : nil }
    }
    let base = directory("XDG_DATA_HOME") ?? directory("HOME").map { $0 + "/.local/share" }
    return base.map { $0 + "/needletail/runs.sqlite" }
  }

  private static func prepare(_ database: SQLiteDatabase) throws(SQLiteError) {
    // A reader then never waits for a writer, and a commit costs no more than a write.
    try database.run("PRAGMA journal_mode = WAL")
    try database.run("PRAGMA synchronous = NORMAL")
    try database.run("PRAGMA foreign_keys = ON")
    try database.transaction { () throws(SQLiteError) in
      func number(_ pragma: String) throws(SQLiteError) -> Int {
        try database.run("PRAGMA \(pragma)").first?.first?.integer ?? 0
      }
      let isEmpty = try database.run("SELECT 1 FROM sqlite_schema LIMIT 1").isEmpty
      if isEmpty {
        for table in tables { try database.run(table) }
        try database.run("PRAGMA application_id = \(applicationID)")
        try database.run("PRAGMA user_version = \(layout)")
        return
      }
      guard try number("application_id") == applicationID else {
        throw SQLiteError(code: 26, description: "a SQLite file of another program")
      }
      let found = try number("user_version")
      guard found == layout else {
        throw SQLiteError(code: 26, description: "layout \(found) of a newer trainer, where this one knows \(layout)")
      }
    }
  }

  /// Milliseconds since 1970.
  public static var now: UInt64 { UInt64(max(0, Date().timeIntervalSince1970 * 1000)) }

  private func perform<Result: Sendable>(
    _ body: (SQLiteDatabase) throws(SQLiteError) -> Result
  ) throws(TrainingError) -> Result {
    do throws(SQLiteError) {
      return try lock.withLock { (_) throws(SQLiteError) in
        try database.transaction { () throws(SQLiteError) in try body(database) }
      }
    } catch {
      throw .output("\(path): expected to use the experiment store, found: \(error.description)")
    }
  }

  // MARK: - writing

  /// Begins a run of this process.
  ///
  /// - Returns: its number.
  public func begin(
    kind: String = "train", model: String, family: String, configuration: String = "", directory: String = "",
    parent: Int? = nil
  ) throws(TrainingError) -> Int {
    try perform { (database) throws(SQLiteError) in
      try database.run(
        """
        INSERT INTO runs (parent, kind, model, family, state, started, configuration, directory, process)
        VALUES (?, ?, ?, ?, 'running', ?, ?, ?, ?)
        """,
        [
          parent.map { .integer($0) } ?? .null, .text(kind), .text(model), .text(family), .integer(Int(Self.now)),
          .text(configuration), .text(directory), .text(ProcessIdentity.own),
        ])
      return database.lastInsertedID
    }
  }

  /// Adds parameters; a key that is there already takes the new value.
  public func add(parameters: [(key: String, value: String)], to run: Int) throws(TrainingError) {
    try perform { (database) throws(SQLiteError) in
      for (key, value) in parameters {
        try database.run(
          "INSERT OR REPLACE INTO parameters VALUES (?, ?, ?)", [.integer(run), .text(key), .text(value)])
      }
    }
  }

  /// Adds values of metrics; one of the same key and step is replaced.
  public func add(_ metrics: [RunMetric], to run: Int) throws(TrainingError) {
    try perform { (database) throws(SQLiteError) in try Self.insert(metrics, run, database) }
  }

  private static func insert(_ metrics: [RunMetric], _ run: Int, _ database: SQLiteDatabase) throws(SQLiteError) {
    for metric in metrics {
      // SQLite keeps no NaN; one reads back from NULL.
      try database.run(
        "INSERT OR REPLACE INTO metrics VALUES (?, ?, ?, ?, ?)",
        [
          .integer(run), .text(metric.key), .integer(metric.step),
          metric.value.isNaN ? .null : .real(metric.value), .integer(Int(clamping: metric.milliseconds)),
        ])
    }
  }

  /// Ends a run, with everything that is known at its end. What is left out stays as it was.
  ///
  /// - Throws: `TrainingError` where there is no such run.
  public func finish(
    _ run: Int, _ state: RunRecord.State, message: String = "", metrics: [RunMetric] = [],
    artifacts: [RunArtifact] = [], directory: String? = nil, dataSHA256: String = "", version: Int? = nil
  ) throws(TrainingError) {
    let changes = try perform { (database) throws(SQLiteError) in
      try Self.insert(metrics, run, database)
      for artifact in artifacts {
        try database.run(
          "INSERT OR REPLACE INTO artifacts VALUES (?, ?, ?, ?)",
          [.integer(run), .text(artifact.name), .text(artifact.path), .integer(artifact.bytes)])
      }
      try database.run(
        """
        UPDATE runs SET state = ?, ended = ?, message = ?, directory = coalesce(?, directory), data_sha256 = ?, version = ? WHERE id = ?
        """,
        [
          .text(state.rawValue), .integer(Int(Self.now)), .text(message),
          directory.map { .text($0) } ?? .null, .text(dataSHA256),
          version.map { .integer($0) } ?? .null, .integer(run),
        ])
      return database.changes
    }
    if changes == 0 { throw absent(run) }
  }

  /// Notes that the model of a run is in a store.
  ///
  /// - Parameters:
  ///   - path: the bundle there.
  ///   - metrics: figures of the version that served before.
  public func publish(_ run: Int, version: Int, path: String, metrics: [RunMetric] = []) throws(TrainingError) {
    try perform { (database) throws(SQLiteError) in
      try Self.insert(metrics, run, database)
      try database.run(
        "UPDATE runs SET state = 'published', version = ?, message = ? WHERE id = ?",
        [.integer(version), .text("published as \(path)"), .integer(run)])
    }
  }

  /// Deletes runs with their parameters, metrics and trials. Files of the runs stay.
  ///
  /// - Throws: `TrainingError` where one of them is not there; then none is deleted.
  public func delete(_ runs: [Int]) throws(TrainingError) {
    for run in runs { _ = try self.run(run) }
    try perform { (database) throws(SQLiteError) in
      for run in runs { try database.run("DELETE FROM runs WHERE id = ?", [.integer(run)]) }
    }
  }

  // MARK: - reading

  private static let columns =
    "id, parent, kind, model, family, state, started, ended, directory, message, configuration, data_sha256, version, process"

  /// Runs in the order in which they began.
  ///
  /// - Parameters:
  ///   - parent: only trials of this study; nil: only runs of their own.
  ///   - model: only runs of this model.
  ///   - last: at most so many, the newest.
  public func runs(parent: Int? = nil, model: String? = nil, last: Int? = nil) throws(TrainingError) -> [RunRecord] {
    let rows = try perform { (database) throws(SQLiteError) in
      try database.run(
        """
        SELECT \(Self.columns) FROM runs WHERE parent IS ?1 AND (?2 IS NULL OR model = ?2) ORDER BY id DESC LIMIT ?3
        """,
        [
          parent.map { .integer($0) } ?? .null, model.map { .text($0) } ?? .null, .integer(last ?? -1),
        ])
    }
    return rows.reversed().map { RunRecord($0) }
  }

  /// The newest run that left a model in this directory; nil: none.
  public func run(directory: String) throws(TrainingError) -> RunRecord? {
    let rows = try perform { (database) throws(SQLiteError) in
      try database.run(
        """
        SELECT \(Self.columns) FROM runs WHERE directory = ? AND state IN ('trained', 'published', 'finished')
        ORDER BY id DESC LIMIT 1
        """, [.text(directory)])
    }
    return rows.first.map { RunRecord($0) }
  }

  /// - Throws: `TrainingError` where there is no such run.
  public func run(_ id: Int) throws(TrainingError) -> RunRecord {
    let rows = try perform { (database) throws(SQLiteError) in
      try database.run("SELECT \(Self.columns) FROM runs WHERE id = ?", [.integer(id)])
    }
    guard let row = rows.first else { throw absent(id) }
    return RunRecord(row)
  }

  private func absent(_ run: Int) -> TrainingError {
    .output("\(path): expected run \(run), found none of that number; runs list has all")
  }

  /// Parameters by key.
  public func parameters(of run: Int) throws(TrainingError) -> [(key: String, value: String)] {
    let rows = try perform { (database) throws(SQLiteError) in
      try database.run("SELECT key, value FROM parameters WHERE run = ? ORDER BY key", [.integer(run)])
    }
    return rows.map { ($0[0].text ?? "", $0[1].text ?? "") }
  }

  /// All values, by key and then by step.
  public func metrics(of run: Int) throws(TrainingError) -> [RunMetric] {
    let rows = try perform { (database) throws(SQLiteError) in
      try database.run("SELECT key, step, value, time FROM metrics WHERE run = ? ORDER BY key, step", [.integer(run)])
    }
    return rows.map { row in
      RunMetric(
        row[0].text ?? "", step: row[1].integer ?? 0, row[2].real ?? .nan,
        milliseconds: UInt64(max(0, row[3].integer ?? 0)))
    }
  }

  public func artifacts(of run: Int) throws(TrainingError) -> [RunArtifact] {
    let rows = try perform { (database) throws(SQLiteError) in
      try database.run("SELECT name, path, bytes FROM artifacts WHERE run = ? ORDER BY name", [.integer(run)])
    }
    return rows.map { RunArtifact(name: $0[0].text ?? "", path: $0[1].text ?? "", bytes: $0[2].integer ?? 0) }
  }
}
