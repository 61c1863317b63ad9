internal import Glibc

/// Calls of libpq, the client library of PostgreSQL, which is looked for when it is needed: most trainers never are.
///
/// The names and signatures are those of `libpq-fe.h`; they have not changed since libpq 5 of 2005.
///
/// `@unchecked Sendable`: nothing changes after the library was found.
struct LibPQ: @unchecked Sendable {
  typealias Handle = OpaquePointer
  typealias Text = UnsafePointer<CChar>
  typealias Words = UnsafePointer<UnsafePointer<CChar>?>

  /// Values of `ConnStatusType`, `ExecStatusType` and `PGTransactionStatusType`.
  static let connectionOK: Int32 = 0
  static let commandOK: Int32 = 1
  static let tuplesOK: Int32 = 2
  static let transactionIdle: Int32 = 0
  /// `PG_DIAG_SQLSTATE`.
  static let stateField = Int32(UInt8(ascii: "C"))

  let connect: @convention(c) (Words, Words, Int32) -> Handle?
  let status: @convention(c) (Handle?) -> Int32
  let errorMessage: @convention(c) (Handle?) -> Text?
  let reset: @convention(c) (Handle?) -> Void
  let finish: @convention(c) (Handle?) -> Void
  let transactionStatus: @convention(c) (Handle?) -> Int32
  let host: @convention(c) (Handle?) -> Text?
  let port: @convention(c) (Handle?) -> Text?
  let user: @convention(c) (Handle?) -> Text?
  let database: @convention(c) (Handle?) -> Text?
  let setNoticeProcessor:
    @convention(c) (
      Handle?, (@convention(c) (UnsafeMutableRawPointer?, Text?) -> Void)?, UnsafeMutableRawPointer?
    ) -> UnsafeRawPointer?
  let execute:
    @convention(c) (
      Handle?, Text, Int32, UnsafePointer<UInt32>?, Words?, UnsafePointer<Int32>?, UnsafePointer<Int32>?, Int32
    ) -> Handle?
  let resultStatus: @convention(c) (Handle?) -> Int32
  let resultField: @convention(c) (Handle?, Int32) -> Text?
  let resultMessage: @convention(c) (Handle?) -> Text?
  let rowCount: @convention(c) (Handle?) -> Int32
  let columnCount: @convention(c) (Handle?) -> Int32
  let columnType: @convention(c) (Handle?, Int32) -> UInt32
  let isNull: @convention(c) (Handle?, Int32, Int32) -> Int32
  let value: @convention(c) (Handle?, Int32, Int32) -> Text?
  let clear: @convention(c) (Handle?) -> Void
  /// Reads a connection string without connecting; its options and its error are freed by the next two.
  let parse: @convention(c) (Text, UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?) -> UnsafeMutableRawPointer?
  let freeOptions: @convention(c) (UnsafeMutableRawPointer?) -> Void
  let freeMemory: @convention(c) (UnsafeMutableRawPointer?) -> Void

  /// The library of this process, found once; or why there is none.
  static let shared: Result<LibPQ, TrainingError> = {
    do throws(TrainingError) { return .success(try LibPQ(library: "libpq.so.5")) } catch { return .failure(error) }
  }()

  /// - Throws: `TrainingError` of kind `output` that says what to install.
  init(library: String) throws(TrainingError) {
    func missing(_ what: String) -> TrainingError {
      .output(
        "study in PostgreSQL: expected its client library \(library) (Debian and Ubuntu: package libpq5), found: \(what)"
      )
    }
    guard let handle = dlopen(library, RTLD_NOW | RTLD_LOCAL) else {
      throw missing(dlerror().map { String(cString: $0) } ?? "none")
    }
    func symbol<Function>(_ name: String, as type: Function.Type = Function.self) throws(TrainingError) -> Function {
      guard let address = dlsym(handle, name) else { throw missing("no \(name) in it") }
      return unsafeBitCast(address, to: type)
    }
    connect = try symbol("PQconnectdbParams")
    status = try symbol("PQstatus")
    errorMessage = try symbol("PQerrorMessage")
    reset = try symbol("PQreset")
    finish = try symbol("PQfinish")
    transactionStatus = try symbol("PQtransactionStatus")
    host = try symbol("PQhost")
    port = try symbol("PQport")
    user = try symbol("PQuser")
    database = try symbol("PQdb")
    setNoticeProcessor = try symbol("PQsetNoticeProcessor")
    execute = try symbol("PQexecParams")
    resultStatus = try symbol("PQresultStatus")
    resultField = try symbol("PQresultErrorField")
    resultMessage = try symbol("PQresultErrorMessage")
    rowCount = try symbol("PQntuples")
    columnCount = try symbol("PQnfields")
    columnType = try symbol("PQftype")
    isNull = try symbol("PQgetisnull")
    value = try symbol("PQgetvalue")
    clear = try symbol("PQclear")
    parse = try symbol("PQconninfoParse")
    freeOptions = try symbol("PQconninfoFree")
    freeMemory = try symbol("PQfreemem")
  }
}
