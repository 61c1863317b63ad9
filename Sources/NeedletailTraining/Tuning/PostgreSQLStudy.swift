internal import Foundation
internal import Glibc
internal import NeedletailCore

/// A connection to PostgreSQL that holds a study, for processes of several machines.
///
/// A connection that is lost is made again: the database may restart or fail over while a search runs for hours. What
/// was being done is done again, whole, so every statement and every transaction here has the same effect twice as once.
final class PostgreSQLStudy: StudyDatabase {
  /// Where the study is, without a password.
  let place: String
  private let library: LibPQ
  private let connection: LibPQ.Handle
  private let reconnectSeconds: Double
  private let isInterrupted: @Sendable () -> Bool
  private var isInTransaction = false

  let skipsLocked = true

  /// Pauses between attempts to connect again; the last one repeats.
  private static let pauses: [Double] = [0.1, 0.2, 0.5, 1, 2]
  /// Seconds for which a process may do nothing in the middle of a transaction before the server ends it: one that was
  /// stopped there would keep all others waiting.
  private static let idleTransactionSeconds = 30
  /// Number of the advisory lock that transactions of all studies take: "NTSTUDY".
  private static let lockNumber = 0x4E_5453_5455_4459
  /// Types of columns by their number in `pg_type`.
  private static let wholeNumbers: Set<UInt32> = [20, 21, 23]
  private static let realNumbers: Set<UInt32> = [700, 701, 1700]

  /// A statement that failed although the connection is fine, or a connection that is lost.
  private enum Failure: Error {
    case lost(String)
    case refused(TrainingError)
  }

  /// Connects.
  ///
  /// - Parameters:
  ///   - url: a connection string of libpq, such as `postgresql://user@host/database`.
  ///   - reconnectSeconds: time after which a lost connection is given up.
  ///   - isInterrupted: asked while it waits for the server; true gives up.
  /// - Throws: `TrainingError` of kind `output`. Its sentence never has a password.
  init(
    url: String, reconnectSeconds: Double = 300, library: Result<LibPQ, TrainingError> = LibPQ.shared,
    isInterrupted: @escaping @Sendable () -> Bool = { false }
  ) throws(TrainingError) {
    let library = try library.get()
    self.library = library
    self.reconnectSeconds = reconnectSeconds
    self.isInterrupted = isInterrupted
    try Self.check(url, library)
    // The string comes last, so that its own settings win.
    let settings: [(key: String, value: String)] = [
      ("application_name", "needletail-trainer"), ("connect_timeout", "10"), ("keepalives_idle", "30"),
      ("tcp_user_timeout", "30000"), ("client_encoding", "UTF8"), ("dbname", url),
    ]
    let words = settings.flatMap { [strdup($0.key), strdup($0.value)] }
    defer { for word in words { free(word) } }
    let keys = stride(from: 0, to: words.count, by: 2).map { UnsafePointer<CChar>(words[$0]) } + [nil]
    let values = stride(from: 1, to: words.count, by: 2).map { UnsafePointer<CChar>(words[$0]) } + [nil]
    guard let connection = library.connect(keys, values, 1) else {
      throw .output("study in PostgreSQL: expected memory for a connection, found none")
    }
    self.connection = connection
    place = Self.place(library, connection)
    guard library.status(connection) == LibPQ.connectionOK else {
      let reason = Self.reason(library.errorMessage(connection))
      throw .output("study \(place): expected to connect to it, found: \(reason)")
    }
    // Notices, such as that a table is there already, are for nobody here.
    _ = library.setNoticeProcessor(connection, { _, _ in }, nil)
    do throws(Failure) { try begin() } catch { throw Self.error(error, place) }
  }

  deinit { library.finish(connection) }

  /// Reads the string without connecting. What libpq says of one that it does not read may quote a part of it, and that
  /// part may be of a password: it is told only where there is none.
  private static func check(_ url: String, _ library: LibPQ) throws(TrainingError) {
    var message: UnsafeMutablePointer<CChar>?
    if let options = library.parse(url, &message) { return library.freeOptions(options) }
    let reason = message.map { Self.reason(UnsafePointer($0)) } ?? "none that it reads"
    if let message { library.freeMemory(message) }
    let mayHoldPassword = url.contains("@") || url.lowercased().contains("password")
    throw .output(
      "--study: expected a connection string such as postgresql://user@host/database, found "
        + (mayHoldPassword
          ? "one that libpq does not read; write %40 for @, %3A for : and %2F for / in user and password"
          : "another: \(reason)"))
  }

  /// Where a connection goes, as far as it may be shown.
  private static func place(_ library: LibPQ, _ connection: LibPQ.Handle) -> String {
    func text(_ part: LibPQ.Text?) -> String { part.map { String(cString: $0) } ?? "" }
    let (user, host) = (text(library.user(connection)), text(library.host(connection)))
    let (port, database) = (text(library.port(connection)), text(library.database(connection)))
    return "postgresql://\(user)\(user.isEmpty ? "" : "@")\(host)\(port.isEmpty ? "" : ":")\(port)/\(database)"
  }

  /// The first line of a message.
  private static func reason(_ message: LibPQ.Text?) -> String {
    let text = message.map { String(cString: $0) } ?? ""
    return text.split(separator: "\n").map { $0.trimmingCharacters(in: .whitespaces) }.joined(separator: "; ")
  }

  private static func error(_ failure: Failure, _ place: String) -> TrainingError {
    switch failure {
    case .refused(let error): error
    case .lost(let reason): .output("study \(place): expected a connection, found: \(reason)")
    }
  }

  // MARK: - statements

  func rows(_ sql: String, _ values: [SQLiteValue]) throws(TrainingError) -> [[SQLiteValue]] {
    if isInTransaction {
      do throws(Failure) { return try run(sql, values) } catch { throw Self.error(error, place) }
    }
    return try persist { () throws(Failure) in try run(sql, values) }
  }

  func exclusively<Result>(_ body: () throws(TrainingError) -> Result) throws(TrainingError) -> Result {
    try persist { () throws(Failure) in
      _ = try run("BEGIN ISOLATION LEVEL READ COMMITTED", [])
      isInTransaction = true
      defer { isInTransaction = false }
      do throws(TrainingError) {
        do throws(Failure) {
          _ = try run("SELECT pg_advisory_xact_lock(?)", [.integer(Self.lockNumber)])
        } catch { throw Self.error(error, place) }
        let result = try body()
        do throws(Failure) { _ = try run("COMMIT", []) } catch { throw Self.error(error, place) }
        return result
      } catch {
        guard library.status(connection) == LibPQ.connectionOK else { throw Failure.lost(error.message) }
        if library.transactionStatus(connection) != LibPQ.transactionIdle { _ = try? run("ROLLBACK", []) }
        throw Failure.refused(error)
      }
    }
  }

  func now() throws(TrainingError) -> Double {
    // Clocks of several machines differ; the server has one.
    guard let seconds = try rows("SELECT extract(epoch FROM clock_timestamp())", []).first?.first?.number else {
      throw .output("study \(place): expected the time of the server, found none")
    }
    return seconds
  }

  /// Does something, and again after a lost connection was made anew.
  private func persist<Result>(_ body: () throws(Failure) -> Result) throws(TrainingError) -> Result {
    var isFresh = false
    while true {
      do throws(Failure) {
        return try body()
      } catch {
        guard case .lost(let reason) = error, !isFresh || library.status(connection) != LibPQ.connectionOK else {
          throw Self.error(error, place)
        }
        try reconnect(reason)
        isFresh = true
      }
    }
  }

  private func reconnect(_ reason: String) throws(TrainingError) {
    let start = Instant.now()
    var (attempt, reason) = (0, reason)
    while true {
      guard !isInterrupted() else {
        throw .output("study \(place): expected a connection, found: \(reason)")
      }
      library.reset(connection)
      if library.status(connection) == LibPQ.connectionOK {
        do throws(Failure) { return try begin() } catch {
          guard case .lost(let again) = error else { throw Self.error(error, place) }
          reason = again
        }
      } else {
        reason = Self.reason(library.errorMessage(connection))
      }
      guard Double(Instant.now().microseconds(since: start)) / 1e6 < reconnectSeconds else {
        throw .output(
          "study \(place): expected it to be back within \(Figures.duration(reconnectSeconds)), found: \(reason)")
      }
      usleep(UInt32(Self.pauses[min(attempt, Self.pauses.count - 1)] * 1e6))
      attempt += 1
    }
  }

  /// Settings of a connection that was just made.
  private func begin() throws(Failure) {
    _ = try run("SET idle_in_transaction_session_timeout = '\(Self.idleTransactionSeconds)s'", [])
  }

  private func run(_ sql: String, _ values: [SQLiteValue]) throws(Failure) -> [[SQLiteValue]] {
    let words = values.map { value -> UnsafeMutablePointer<CChar>? in
      switch value {
      case .null: nil
      case .integer(let number): strdup(String(number))
      case .real(let number): strdup("\(number)")
      // PostgreSQL keeps no NUL in a text.
      case .text(let text): strdup(text.split(separator: "\0", omittingEmptySubsequences: false).joined())
      }
    }
    defer { for word in words { free(word) } }
    let parameters = words.map { UnsafePointer<CChar>($0) }
    let result = library.execute(
      connection, Self.numbered(sql), Int32(parameters.count), nil, parameters, nil, nil, 0)
    defer { library.clear(result) }
    let status = library.resultStatus(result)
    guard status == LibPQ.commandOK || status == LibPQ.tuplesOK else {
      let state = library.resultField(result, LibPQ.stateField).map { String(cString: $0) } ?? ""
      let message = Self.reason(library.resultMessage(result) ?? library.errorMessage(connection))
      // Class 57P: the server shuts down, or has ended this session.
      guard library.status(connection) == LibPQ.connectionOK, !state.hasPrefix("57P"), state != "25P03" else {
        throw .lost(message)
      }
      throw .refused(.output("study \(place): expected to read and write it, found: \(message)"))
    }
    return (0..<library.rowCount(result)).map { row in
      (0..<library.columnCount(result)).map { column in
        guard library.isNull(result, row, column) == 0, let found = library.value(result, row, column) else {
          return .null
        }
        let text = String(cString: found)
        let type = library.columnType(result, column)
        if Self.wholeNumbers.contains(type) { return Int(text).map { .integer($0) } ?? .null }
        if Self.realNumbers.contains(type) { return Double(text).map { .real($0) } ?? .null }
        return .text(text)
      }
    }
  }

  /// The statement with `$1`, `$2` … in the place of `?`. No statement here has one in a text.
  static func numbered(_ sql: String) -> String {
    var number = 0
    return sql.split(separator: "?", omittingEmptySubsequences: false).reduce(into: "") { text, part in
      if number > 0 { text += "$\(number)" }
      text += part
      number += 1
    }
  }
}
