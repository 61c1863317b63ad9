internal import Foundation
internal import Glibc
internal import NeedletailCore
internal import Synchronization

/// A run as the store keeps it.
public struct RunRecord: Equatable, Sendable {
  public enum State: String, Sendable, CaseIterable {
    case running
    case finished
    /// The run ended with an error, which `message` holds.
    case failed
    /// The user stopped it.
    case interrupted
    /// Its process is gone and has not said how the run ended: it was killed, or the machine stopped.
    case lost
  }

  public var id: Int
  /// The study that a trial belongs to; nil for runs of their own.
  public var parent: Int?
  /// `train`, `study`, `trial`: what the run is.
  public var kind: String
  public var model: String
  public var family: String
  public var state: State
  public var startedMilliseconds: UInt64
  public var endedMilliseconds: UInt64?
  /// Directory with the run's files; empty where it has none.
  public var directory: String
  /// Reason of a failure, or a remark.
  public var message: String
  /// The run file with all defaults merged in, YAML.
  public var configuration: String
  public var dataSHA256: String
  /// Version that the bundle was given; nil without one.
  public var version: Int?
}

/// One value of a metric. Figures of a finished run have step 0; curves have steps from 1.
public struct RunMetric: Equatable, Sendable {
  public var key: String
  public var step: Int
  public var value: Double
  public var milliseconds: UInt64

  public init(_ key: String, step: Int = 0, _ value: Double, milliseconds: UInt64 = ExperimentStore.now) {
    self.key = key
    self.step = step
    self.value = value
    self.milliseconds = milliseconds
  }
}

/// A file that a run left behind.
public struct RunArtifact: Equatable, Sendable {
  public var name: String
  public var path: String
  public var bytes: Int

  public init(name: String, path: String, bytes: Int) {
    self.name = name
    self.path = path
    self.bytes = bytes
  }
}

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

extension RunRecord {
  fileprivate init(_ row: [SQLiteValue]) {
    var state = State(rawValue: row[5].text ?? "") ?? .failed
    if state == .running, ProcessIdentity.isGone(row[13].text ?? "") { state = .lost }
    self.init(
      id: row[0].integer ?? 0, parent: row[1].integer, kind: row[2].text ?? "", model: row[3].text ?? "",
      family: row[4].text ?? "", state: state, startedMilliseconds: UInt64(max(0, row[6].integer ?? 0)),
      endedMilliseconds: row[7].integer.map { UInt64(max(0, $0)) }, directory: row[8].text ?? "",
      message: row[9].text ?? "", configuration: row[10].text ?? "", dataSHA256: row[11].text ?? "",
      version: row[12].integer)
  }
}

/// A process of one boot of one machine: its number alone may be given to another.
enum ProcessIdentity {
  static let own = "\(machine) \(boot) \(space) \(getpid()) \(start(of: getpid()) ?? "")"

  /// True for a process of this machine that has ended. One of another machine or container is unknown, and not called
  /// gone.
  static func isGone(_ identity: String) -> Bool {
    let parts = identity.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 5, parts[0] == machine, let number = Int32(parts[3]) else { return false }
    if parts[1] != boot { return true }
    return parts[2] == space && start(of: number) != parts[4]
  }

  private static let machine = line("/etc/machine-id") ?? line("/etc/hostname") ?? "unknown"
  private static let boot = line("/proc/sys/kernel/random/boot_id") ?? "unknown"
  /// Numbers of processes count in a name space of their own inside a container.
  private static let space = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/ns/pid")) ?? ""

  /// The first line of a file, without spaces; nil where there is none.
  private static func line(_ path: String) -> String? {
    guard let text = try? String(contentsOfFile: path, encoding: .utf8) else { return nil }
    return text.split(whereSeparator: \.isWhitespace).first.map(String.init)
  }

  /// Field 22 of `/proc/PID/stat`: the time at which the process began, in ticks since boot.
  private static func start(of process: Int32) -> String? {
    guard let text = try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8) else { return nil }
    // The name of the program stands in parentheses and may hold any character.
    guard let end = text.lastIndex(of: ")") else { return nil }
    let fields = text[text.index(after: end)...].split(separator: " ")
    return fields.count > 19 ? String(fields[19]) : nil
  }
}
