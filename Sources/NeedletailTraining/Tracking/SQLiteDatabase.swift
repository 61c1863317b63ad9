internal import CSQLite

/// A value of a column, or of a parameter of a statement.
enum SQLiteValue: Equatable, Sendable {
  case null
  case integer(Int)
  case real(Double)
  case text(String)

  var integer: Int? { if case .integer(let value) = self { value } else { nil } }
  var real: Double? { if case .real(let value) = self { value } else { nil } }
  var text: String? { if case .text(let value) = self { value } else { nil } }
}

/// A call of SQLite that failed, in SQLite's words.
struct SQLiteError: Error, CustomStringConvertible {
  /// Extended result code, such as `SQLITE_FULL`.
  let code: Int32
  let description: String
}

/// A connection to a file of SQLite. One thread at a time may use it.
final class SQLiteDatabase {
  private let handle: OpaquePointer

  /// Opens a file, or makes an empty one.
  ///
  /// - Parameter busyMilliseconds: longest time that a statement waits for other processes.
  init(path: String, isReadOnly: Bool = false, busyMilliseconds: Int32) throws(SQLiteError) {
    var handle: OpaquePointer?
    let flags =
      (isReadOnly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE) | SQLITE_OPEN_NOMUTEX
      | SQLITE_OPEN_EXRESCODE
    let code = sqlite3_open_v2(path, &handle, flags, nil)
    guard let handle, code == SQLITE_OK else {
      let error = SQLiteError(code: code, description: String(cString: sqlite3_errstr(code)))
      sqlite3_close_v2(handle)
      throw error
    }
    self.handle = handle
    sqlite3_busy_timeout(handle, busyMilliseconds)
  }

  deinit { sqlite3_close_v2(handle) }

  /// Runs one statement.
  ///
  /// - Returns: its rows.
  @discardableResult
  func run(_ sql: String, _ values: [SQLiteValue] = []) throws(SQLiteError) -> [[SQLiteValue]] {
    var statement: OpaquePointer?
    try check(sqlite3_prepare_v2(handle, sql, -1, &statement, nil))
    defer { sqlite3_finalize(statement) }
    for (place, value) in values.enumerated() { try bind(value, at: Int32(place) + 1, of: statement) }
    var rows: [[SQLiteValue]] = []
    while true {
      switch sqlite3_step(statement) {
      case SQLITE_ROW: rows.append((0..<sqlite3_column_count(statement)).map { Self.value(statement, $0) })
      case SQLITE_DONE: return rows
      default: throw failure
      }
    }
  }

  /// Runs statements of which all take effect or none: an error, a full disk or a killed process leaves the file as it
  /// was before.
  func transaction<Result>(_ body: () throws(SQLiteError) -> Result) throws(SQLiteError) -> Result {
    // A transaction that begins by reading may be refused its first write where another process wrote in between.
    try run("BEGIN IMMEDIATE")
    do throws(SQLiteError) {
      let result = try body()
      try run("COMMIT")
      return result
    } catch {
      // SQLite itself has ended the transaction where the disk is full.
      if sqlite3_get_autocommit(handle) == 0 { _ = try? run("ROLLBACK") }
      throw error
    }
  }

  var lastInsertedID: Int { Int(sqlite3_last_insert_rowid(handle)) }

  /// Number of rows that the last statement changed.
  var changes: Int { Int(sqlite3_changes(handle)) }

  private func bind(_ value: SQLiteValue, at place: Int32, of statement: OpaquePointer?) throws(SQLiteError) {
    let code: Int32
    switch value {
    case .null: code = sqlite3_bind_null(statement, place)
    case .integer(let integer): code = sqlite3_bind_int64(statement, place, Int64(integer))
    case .real(let real): code = sqlite3_bind_double(statement, place, real)
    case .text(var text):
      code = text.withUTF8 { bytes in
        bytes.withMemoryRebound(to: CChar.self) { bytes in
          // A null pointer would be NULL, not empty text.
          guard let start = bytes.baseAddress else { return nt_sqlite_bind_text(statement, place, "", 0) }
          return nt_sqlite_bind_text(statement, place, start, Int32(clamping: bytes.count))
        }
      }
    }
    try check(code)
  }

  private static func value(_ statement: OpaquePointer?, _ column: Int32) -> SQLiteValue {
    switch sqlite3_column_type(statement, column) {
    case SQLITE_INTEGER: return .integer(Int(sqlite3_column_int64(statement, column)))
    case SQLITE_FLOAT: return .real(sqlite3_column_double(statement, column))
    case SQLITE_TEXT:
      let count = Int(sqlite3_column_bytes(statement, column))
      guard let text = sqlite3_column_text(statement, column) else { return .null }
      return .text(String(decoding: UnsafeBufferPointer(start: text, count: count), as: UTF8.self))
    default: return .null
    }
  }

  private func check(_ code: Int32) throws(SQLiteError) {
    if code != SQLITE_OK { throw failure }
  }

  private var failure: SQLiteError {
    SQLiteError(code: sqlite3_extended_errcode(handle), description: String(cString: sqlite3_errmsg(handle)))
  }
}
