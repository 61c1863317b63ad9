import NeedletailCore
import NeedletailRedis
import Testing

@testable import NeedletailServer

/// What comes out of Redis as a job: whole records are read, others are errors.
@Suite struct JobRecordTests {
  private static let id = JobID(high: 1, low: 2)

  private static func text(_ text: String) -> RedisReply { .bytes(Array(text.utf8)) }

  /// Fields as the scripts return them, of a job that is done.
  private static func fields(_ changes: [Int: RedisReply] = [:]) -> RedisReply {
    var list: [RedisReply] = ["1", "done", "m", "7", "100", "90"].map(text)
    list += [.integer(1500), .integer(2500)] + ["", "", "400", "60"].map(text)
    for (place, value) in changes { list[place] = value }
    return .list(list)
  }

  @Test func aRecordIsReadAsItWasWritten() throws {
    let record = try JobRecord(Self.id, Self.fields())
    #expect(record.status.state == .done && record.status.model == "m" && record.status.version == 7)
    #expect(record.status.rows == 100 && record.status.rowsDone == 90)
    #expect(record.status.ageMilliseconds == 1500 && record.status.expiresInMilliseconds == 2500)
    #expect(record.resultBytes == 400 && record.resultJSONBytes == 60 && record.status.error == nil)
    #expect(try JobRecord(Self.id, Self.fields([11: Self.text("-1")])).resultJSONBytes == nil)
  }

  @Test(arguments: [
    (0, ""), (0, "2"), (1, "gone"), (1, ""), (2, ""), (3, "-7"), (3, "x"), (4, "1e3"), (5, "99999999999999999999"),
    (10, "many"), (11, "401"), (11, "-2"),
  ])
  func aFieldThatIsWrongIsAnError(place: Int, value: String) {
    let error = #expect(throws: ServingError.self) { try JobRecord(Self.id, Self.fields([place: Self.text(value)])) }
    #expect(error?.code == .internal)
  }

  @Test func whatIsNoListOfFieldsIsAnError() {
    let replies: [RedisReply?] = [
      nil, RedisReply.none, .integer(1), .list([]), Self.text("1"), Self.fields([2: .bytes([0xFF, 0xFE])]),
      Self.fields([6: Self.text("1500")]), Self.fields([7: RedisReply.none]), Self.fields([1: .list([])]),
    ]
    for reply in replies {
      #expect(throws: ServingError.self) { try JobRecord(Self.id, reply) }
      #expect(throws: ServingError.self) { try JobClaim(reply, bytesMax: 1000) }
      if let reply { #expect(throws: RedisError.self) { try JobReply(reply) } }
    }
  }

  @Test func whyAJobFailedIsReadAsItWasWritten() throws {
    let errors: [ServingError] = [
      .invalidArgument("row 7: expected a number", .init(field: "size", row: 7)),
      .deadlineExceeded("späť"), .unavailable(""),
      .init(
        .overloaded, "a:b,c", retryAfterMicroseconds: 5,
        detail: .init(limit: .init("rows_max", maximum: 10, found: 11))),
    ]
    for error in errors {
      let read = try #require(JobErrorText.decode(JobErrorText.encode(error)))
      #expect(read == error && read.detail == error.detail)
      let record = try JobRecord(
        Self.id, Self.fields([1: Self.text("failed"), 9: .bytes(JobErrorText.encode(error))]))
      #expect(record.status.error == error)
    }
    for (fault, code) in [("overdue", StatusCode.deadlineExceeded), ("late", .deadlineExceeded), ("lost", .internal)] {
      let record = try JobRecord(Self.id, Self.fields([1: Self.text("failed"), 8: Self.text(fault)]))
      #expect(record.status.error?.code == code)
    }
  }

  /// Every beginning of an error, and every error with one byte changed, is read or refused.
  @Test func aDamagedErrorIsRefusedOrAnotherError() {
    let whole = JobErrorText.encode(.invalidArgument("row", .init(field: "f", row: 3)))
    for count in 0..<whole.count { #expect(JobErrorText.decode(Array(whole[..<count])) == nil) }
    for place in whole.indices {
      for byte in [0, 0x30, 0x39, 0x3A, 0x2C, 0x2D, 0xFF] as [UInt8] {
        var damaged = whole
        damaged[place] = byte
        _ = JobErrorText.decode(damaged)
      }
    }
    #expect(JobErrorText.decode(Array("9999999:".utf8)) == nil)
    #expect(JobErrorText.decode([UInt8](repeating: 0x31, count: 100_000)) == nil)
  }

  @Test func aClaimIsBoundedByTheServerThatRunsIt() throws {
    func claim(_ bytes: String, json: String = "-1") throws -> JobClaim {
      let list = ["1", "m", "0", json, bytes].map(Self.text) + [.integer(10), .integer(20), .integer(1)]
      return try JobClaim(.list(list), bytesMax: 1000)
    }
    let read = try claim("1000", json: "12")
    #expect(read.bytes == 1000 && read.jsonBytes == 12 && read.leftMilliseconds == 10 && read.ageMilliseconds == 20)
    let error = #expect(throws: ServingError.self) { try claim("1001") }
    #expect(error?.code == .invalidArgument && error?.detail?.limit?.found == 1001)
  }
}
