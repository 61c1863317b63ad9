internal import NeedletailCore

/// A database that holds one study. One thread at a time may use it.
protocol StudyDatabase: AnyObject {
  /// Runs one statement, in which `?` stands for the values in their order.
  func rows(_ sql: String, _ values: [SQLiteValue]) throws(TrainingError) -> [[SQLiteValue]]
  /// Runs statements of which all take effect or none, and which no other process sees half. Where the connection is
  /// lost, the body runs again.
  func exclusively<Result>(_ body: () throws(TrainingError) -> Result) throws(TrainingError) -> Result
  /// Seconds since 1970, by a clock that all who share the study read.
  func now() throws(TrainingError) -> Double
  /// Whether a row that another transaction holds can be passed over.
  var skipsLocked: Bool { get }
}

/// A study in a database: every trial is there before it begins and when it has ended, so that a search goes on where it
/// was interrupted, and several processes share it.
///
/// A process claims a trial in a transaction and says now and then that it is alive. The trial of one that has fallen
/// silent goes to the next that asks; should the silent one return after all, its result counts for nothing.
final class StudyStore {
  /// A trial and what was measured beside its loss.
  struct Record: Equatable, Sendable {
    var trial: Study.Trial
    var fitSeconds: Double?
    var microsecondsPerRow: Double?
    /// Reason of a failure.
    var note: String?
  }

  private let database: any StudyDatabase
  /// Name of this process among those that share the study.
  let worker: String
  /// Silence after which a process counts as lost.
  let lostSeconds: Double

  /// Names of the two tables.
  private let studies: String
  private let trials: String

  static let lostSecondsDefault = 60.0

  /// - Parameter name: tells the study from others in the same database; empty: there are none.
  init(_ database: any StudyDatabase, worker: String, lostSeconds: Double = lostSecondsDefault, name: String = "") {
    self.database = database
    self.worker = worker
    self.lostSeconds = lostSeconds
    let suffix = name.isEmpty ? "" : "_" + name
    studies = "\"needletail_study\(suffix)\""
    trials = "\"needletail_trial\(suffix)\""
  }

  /// Forgets all trials, and what the study is about.
  func drop() throws(TrainingError) {
    try database.exclusively { () throws(TrainingError) -> Void in
      for table in [trials, studies] { _ = try database.rows("DROP TABLE IF EXISTS \(table)", []) }
    }
  }

  /// Makes the tables, and notes what the study is about.
  ///
  /// - Parameters:
  ///   - fingerprint: facts that all who share the study agree on, one a line.
  ///   - place: name of the database, for messages.
  /// - Throws: `TrainingError` where the database holds another study.
  func open(fingerprint: String, place: String) throws(TrainingError) {
    try database.exclusively { () throws(TrainingError) -> Void in
      _ = try database.rows("CREATE TABLE IF NOT EXISTS \(studies) (fingerprint TEXT NOT NULL)", [])
      _ = try database.rows(
        """
        CREATE TABLE IF NOT EXISTS \(trials) (
          number BIGINT PRIMARY KEY, arm BIGINT NOT NULL, point TEXT NOT NULL, state TEXT NOT NULL,
          loss DOUBLE PRECISION, steps TEXT NOT NULL, fit_seconds DOUBLE PRECISION, row_us DOUBLE PRECISION, note TEXT,
          worker TEXT NOT NULL, beat DOUBLE PRECISION NOT NULL)
        """, [])
      guard let found = try database.rows("SELECT fingerprint FROM \(studies)", []).first?.first?.text else {
        _ = try database.rows("INSERT INTO \(studies) VALUES (?)", [.text(fingerprint)])
        return
      }
      guard found != fingerprint else { return }
      let (old, new) = (found.split(separator: "\n"), fingerprint.split(separator: "\n"))
      let place = place.quotedForMessage
      let differing = zip(old, new).first { $0 != $1 }
      throw TrainingError(
        .configuration,
        "study \(place): expected that of this run file and data (\(differing.map { String($0.1) } ?? "more families")), "
          + "found another (\(differing.map { String($0.0) } ?? "fewer families")); choose another place, or --restart")
    }
  }

  /// All trials, in order.
  func records(arms: [Study.Arm]) throws(TrainingError) -> [Record] {
    let rows = try database.rows(
      "SELECT number, arm, point, state, loss, steps, fit_seconds, row_us, note FROM \(trials) ORDER BY number",
      [])
    var records: [Record] = []
    for (place, row) in rows.enumerated() {
      guard let number = row[0].integer, number == place, let arm = row[1].integer, arms.indices.contains(arm),
        let point = row[2].text.flatMap(Self.point), arms[arm].space.contains(point),
        let state = row[3].text.flatMap(Study.State.init(rawValue:)), let steps = row[5].text.flatMap(Self.steps)
      else { throw TrainingError(.data, "study: expected trial \(place), found a row that is none; use --restart") }
      records.append(
        Record(
          trial: .init(number: number, arm: arm, point: point, state: state, loss: row[4].number, steps: steps),
          fitSeconds: row[6].number, microsecondsPerRow: row[7].number, note: row[8].text))
    }
    return records
  }

  /// Claims a trial for this process: one whose process is lost, or a new one.
  ///
  /// - Parameters:
  ///   - now: nil: the time of the database.
  ///   - holding: trials that this process works on. Another one that the database has under its name was claimed when
  ///     the connection was lost, and is claimed again. Nil: that is not looked for.
  ///   - trialsMax: no new trial beyond so many; 0: any number.
  ///   - next: the new trial that follows those so far.
  /// - Returns: the trial, or nil where there is nothing more to try, and all trials before it.
  func claim(
    arms: [Study.Arm], now: Double? = nil, holding: Set<Int>? = nil, trialsMax: Int,
    next: ([Record]) -> Study.Trial
  ) throws(TrainingError) -> (trial: Study.Trial?, all: [Record]) {
    try database.exclusively { () throws(TrainingError) -> (trial: Study.Trial?, all: [Record]) in
      let now = try time(now)
      let all = try records(arms: arms)
      if let holding {
        let own = try database.rows(
          "SELECT number FROM \(trials) WHERE state = 'running' AND worker = ? ORDER BY number", [.text(worker)])
        if let number = own.lazy.compactMap({ $0.first?.integer }).first(where: { !holding.contains($0) }) {
          return (all[number].trial, all)
        }
      }
      // A row that is locked is about to be ended by the process that seemed lost.
      let passing = database.skipsLocked ? " FOR UPDATE SKIP LOCKED" : ""
      let lost = try database.rows(
        "SELECT number FROM \(trials) WHERE state = 'running' AND beat < ? ORDER BY number LIMIT 1\(passing)",
        [.real(now - lostSeconds)])
      if let number = lost.first?.first?.integer {
        _ = try database.rows(
          "UPDATE \(trials) SET worker = ?, beat = ? WHERE number = ?",
          [.text(worker), .real(now), .integer(number)])
        return (all[number].trial, all)
      }
      guard trialsMax == 0 || all.count < trialsMax else { return (nil, all) }
      let trial = next(all)
      _ = try database.rows(
        "INSERT INTO \(trials) (number, arm, point, state, steps, worker, beat) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
          .integer(trial.number), .integer(trial.arm), .text(Self.text(trial.point)), .text("running"), .text(""),
          .text(worker), .real(now),
        ])
      return (trial, all)
    }
  }

  private func time(_ now: Double?) throws(TrainingError) -> Double {
    if let now { return now }
    return try database.now()
  }

  /// Says that this process still works on its trials.
  ///
  /// - Parameter now: nil: the time of the database.
  func beat(now: Double? = nil) throws(TrainingError) {
    let now = try time(now)
    _ = try database.rows(
      "UPDATE \(trials) SET beat = ? WHERE worker = ? AND state = 'running'", [.real(now), .text(worker)])
  }

  /// Writes the end of a trial. To write the same once more, after a connection was lost, changes nothing.
  ///
  /// - Returns: false where another process has claimed or ended it meanwhile; then nothing is written.
  func finish(_ record: Record) throws(TrainingError) -> Bool {
    let trial = record.trial
    let written = try database.rows(
      """
      UPDATE \(trials) SET state = ?, loss = ?, steps = ?, fit_seconds = ?, row_us = ?, note = ?
      WHERE number = ? AND worker = ?
        AND (state = 'running' OR (state = ? AND steps = ? AND loss IS NOT DISTINCT FROM ?)) RETURNING number
      """,
      [
        .text(trial.state.rawValue), Self.value(trial.loss), .text(Self.text(trial.steps)),
        Self.value(record.fitSeconds), Self.value(record.microsecondsPerRow), record.note.map { .text($0) } ?? .null,
        .integer(trial.number), .text(worker), .text(trial.state.rawValue), .text(Self.text(trial.steps)),
        Self.value(trial.loss),
      ])
    return !written.isEmpty
  }

  /// Gives unfinished trials of this process back, for the next that asks.
  func release() throws(TrainingError) {
    _ = try database.rows(
      "UPDATE \(trials) SET beat = 0 WHERE worker = ? AND state = 'running'", [.text(worker)])
  }

  // MARK: - values

  private static func value(_ number: Double?) -> SQLiteValue { number.map { .real($0) } ?? .null }

  static func text(_ point: SearchSpace.Point) -> String {
    point.map { $0.map { "\($0)" } ?? "-" }.joined(separator: " ")
  }

  static func point(_ text: String) -> SearchSpace.Point? {
    var point: SearchSpace.Point = []
    for word in text.split(separator: " ") {
      if word == "-" {
        point.append(nil)
      } else {
        guard let number = Double(word), number.isFinite else { return nil }
        point.append(number)
      }
    }
    return point
  }

  /// Runs of one loss are one word: `0.5*12` for steps without a report between.
  static func text(_ steps: [Int: Double]) -> String {
    var words: [(loss: Double, first: Int, last: Int)] = []
    for step in steps.keys.sorted() {
      let loss = steps[step] ?? .nan
      if let last = words.last, last.loss == loss, last.last == step - 1 {
        words[words.count - 1].last = step
      } else {
        words.append((loss, step, step))
      }
    }
    return words.map { "\($0.first)-\($0.last):\($0.loss)" }.joined(separator: " ")
  }

  /// Steps beyond this are none of a trial: the longest training has a million epochs.
  private static let stepsMax = 1_000_000

  static func steps(_ text: String) -> [Int: Double]? {
    var steps: [Int: Double] = [:]
    for word in text.split(separator: " ") {
      let parts = word.split(separator: ":", omittingEmptySubsequences: false)
      let bounds = parts[0].split(separator: "-", omittingEmptySubsequences: false).map { Int($0) ?? -1 }
      guard parts.count == 2, bounds.count == 2, bounds[0] >= 0, bounds[0] <= bounds[1], bounds[1] <= stepsMax,
        let loss = Double(parts[1])
      else { return nil }
      for step in bounds[0]...bounds[1] { steps[step] = loss }
    }
    return steps
  }
}

extension SQLiteValue {
  /// A number, whole ones included.
  var number: Double? { real ?? integer.map { Double($0) } }
}

/// A study in a file of SQLite.
final class SQLiteStudy: StudyDatabase {
  private let database: SQLiteDatabase
  private let path: String

  /// A transaction locks the whole file.
  let skipsLocked = false

  /// Longest wait for other processes: a transaction here takes milliseconds.
  private static let busyMilliseconds: Int32 = 30_000

  init(path: String) throws(TrainingError) {
    self.path = path
    do throws(SQLiteError) {
      database = try SQLiteDatabase(path: path, busyMilliseconds: Self.busyMilliseconds)
    } catch {
      throw .output("study \(path.quotedForMessage): expected to open it, found: \(error)")
    }
  }

  func rows(_ sql: String, _ values: [SQLiteValue]) throws(TrainingError) -> [[SQLiteValue]] {
    do throws(SQLiteError) {
      return try database.run(sql, values)
    } catch {
      throw .output("study \(path.quotedForMessage): expected to read and write it, found: \(error)")
    }
  }

  /// Processes of one machine share its clock.
  func now() -> Double { Double(UnixTime.nowMilliseconds()) / 1000 }

  func exclusively<Result>(_ body: () throws(TrainingError) -> Result) throws(TrainingError) -> Result {
    _ = try rows("BEGIN IMMEDIATE", [])
    do throws(TrainingError) {
      let result = try body()
      _ = try rows("COMMIT", [])
      return result
    } catch {
      _ = try? rows("ROLLBACK", [])
      throw error
    }
  }
}
