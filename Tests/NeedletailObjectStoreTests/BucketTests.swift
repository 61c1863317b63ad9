import Glibc
import NeedletailSystem
import NeedletailTestSupport
import Synchronization
import Testing

@testable import NeedletailObjectStore

@Suite("Buckets", .timeLimit(.minutes(10)))
struct BucketTests {
  private static let environment = ["AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"]

  /// Counts what a bucket says of its requests.
  private final class Counts: BucketObserver {
    let outcomes = Mutex<[String]>([])
    let retries = Mutex(0)

    func requested(_ operation: BucketOperation, failed reason: ObjectStoreError.Reason?) {
      outcomes.withLock { $0.append("\(operation) \(reason?.rawValue ?? "ok")") }
    }

    func retrying(_ operation: BucketOperation) { retries.withLock { $0 += 1 } }
  }

  private func bucket(_ server: ScriptedServer, _ observer: (any BucketObserver)? = nil) throws -> Bucket {
    try Bucket(
      ObjectStoreLocation("s3://models/top?endpoint=http://127.0.0.1:\(server.port)", environment: [:]),
      environment: Self.environment, observer: observer)
  }

  private static func page(_ keys: [String], token: String? = nil) -> ScriptedServer.Answer {
    let items = keys.map { "<Contents><Key>\($0)</Key><ETag>&quot;tag&quot;</ETag><Size>5</Size></Contents>" }
    let end = token.map { "<IsTruncated>true</IsTruncated><NextContinuationToken>\($0)</NextContinuationToken>" } ?? ""
    return .ok("<?xml version=\"1.0\"?><ListBucketResult>\(items.joined())\(end)</ListBucketResult>")
  }

  /// The reason with which a call on a bucket fails; nil: it succeeds.
  private func fault(
    _ answers: [ScriptedServer.Answer], _ call: @escaping @Sendable (Bucket) throws(ObjectStoreError) -> Void
  ) async throws -> ObjectStoreError.Reason? {
    let bucket = try bucket(ScriptedServer(answers))
    return try await ScriptedServer.run {
      do throws(ObjectStoreError) {
        try call(bucket)
        return nil
      } catch {
        return error.reason
      }
    }
  }

  @Test func listsAllPagesOverOneConnection() async throws {
    let server = try ScriptedServer([
      Self.page(["top/a/1.ntb", "top/b%20c/2.ntb"], token: "n/xt"), Self.page(["top/d/3.ntb"]),
    ])
    let bucket = try bucket(server)
    let listing = try await ScriptedServer.run { try bucket.list() }
    #expect(listing.objects.map(\.path) == ["a/1.ntb", "b c/2.ntb", "d/3.ntb"])
    #expect(listing.objects.allSatisfy { $0.tag == "tag" && $0.bytes == 5 })
    #expect(!listing.isCut)
    #expect(
      server.asked[1].line
        == "GET /models?continuation-token=n%2Fxt&encoding-type=url&list-type=2&max-keys=1000&prefix=top%2F HTTP/1.1")
  }

  @Test func stopsListingAtTheLimit() async throws {
    let bucket = try bucket(ScriptedServer([Self.page(["top/a", "top/b", "top/c"], token: "next")]))
    let listing = try await ScriptedServer.run { try bucket.list(objectsMax: 2) }
    #expect(listing.objects.count == 2)
    #expect(listing.isCut)
  }

  @Test(arguments: [
    "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>", "<Other/>", "no XML",
    "<ListBucketResult><Contents><Key>elsewhere/a</Key><ETag>t</ETag><Size>1</Size></Contents></ListBucketResult>",
    "<ListBucketResult><Contents><Key>top/a</Key><ETag>t</ETag><Size>-1</Size></Contents></ListBucketResult>",
    "<ListBucketResult><Contents><Key>top/a</Key><Size>1</Size></Contents></ListBucketResult>",
    "<ListBucketResult><Contents><Key>top/%zz</Key><ETag>t</ETag><Size>1</Size></Contents></ListBucketResult>",
  ])
  func refusesAListingThatMakesNoSense(body: String) async throws {
    #expect(try await fault([.ok(body)]) { bucket throws(ObjectStoreError) in _ = try bucket.list() } == .malformed)
  }

  @Test func readsABodyInChunks() async throws {
    let bucket = try bucket(
      ScriptedServer([
        .init(
          bytes:
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: x\r\n\r\n")
      ]))
    let bytes = try await ScriptedServer.run { try bucket.read("a", bytesMax: 13) }
    #expect(String(decoding: bytes, as: UTF8.self) == "abc0123456789")
  }

  @Test func boundsWhatItReads() async throws {
    let answers = [ScriptedServer.Answer.ok("too much")]
    #expect(
      try await fault(answers) { bucket throws(ObjectStoreError) in _ = try bucket.read("a", bytesMax: 7) }
        == .oversized)
  }

  @Test(arguments: [
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n", "SSH-2.0-x\r\n\r\n",
    "HTTP/1.1 200 OK\r\n\r\nabc",
  ])
  func refusesWhatIsNoHTTP(bytes: String) async throws {
    #expect(
      try await fault([.init(bytes: bytes)]) { bucket throws(ObjectStoreError) in
        _ = try bucket.read("a", bytesMax: 100)
      } == .malformed)
  }

  @Test func triesAgainAfterLostTornAndFailedAnswers() async throws {
    let counts = Counts()
    let server = try ScriptedServer([
      .none, .cut("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ntorn"), .error(503, "SlowDown"), .ok("whole"),
    ])
    let bucket = try bucket(server, counts)
    let bytes = try await ScriptedServer.run { try bucket.read("a", tag: "t", bytesMax: 100) }
    #expect(String(decoding: bytes, as: UTF8.self) == "whole")
    #expect(counts.outcomes.withLock { $0 } == ["get unreachable", "get torn", "get throttled", "get ok"])
    #expect(counts.retries.withLock { $0 } == 3)
    #expect(server.asked.allSatisfy { $0.head.contains("if-match: \"t\"") })
  }

  @Test(arguments: [
    (ScriptedServer.Answer.error(403, "AccessDenied"), ObjectStoreError.Reason.denied),
    (.error(404, "NoSuchKey"), .notFound), (.error(412, "PreconditionFailed"), .conditionFailed),
    (.status(301, fields: "x-amz-bucket-region: eu-west-1\r\n"), .configuration),
    (.error(400, "ExpiredToken"), .denied),
    (.error(501, "NotImplemented"), .unsupported),
  ])
  func doesNotRepeatWhatCannotSucceed(answer: ScriptedServer.Answer, reason: ObjectStoreError.Reason) async throws {
    let server = try ScriptedServer([answer])
    let bucket = try bucket(server)
    await #expect {
      try await ScriptedServer.run { try bucket.read("a", bytesMax: 100) }
    } throws: {
      ($0 as? ObjectStoreError)?.reason == reason
    }
    #expect(server.asked.count == 1)
  }

  @Test func signsByTheStoresClockWhereItsOwnIsWrong() async throws {
    let server = try ScriptedServer([
      .error(403, "RequestTimeTooSkewed", fields: "Date: Fri, 24 May 2013 00:00:00 GMT\r\n"), .ok("a"), .ok("b"),
    ])
    let bucket = try bucket(server)
    try await ScriptedServer.run {
      _ = try bucket.read("a", bytesMax: 100)
      _ = try bucket.read("b", bytesMax: 100)
    }
    #expect(!server.asked[0].head.contains("x-amz-date: 2013"))
    #expect(server.asked[1].head.contains("x-amz-date: 20130524T0000"))
    #expect(server.asked[2].head.contains("x-amz-date: 20130524T0000"))
  }

  @Test func takesTheLostAnswerToItsOwnWriteForASuccess() async throws {
    let server = try ScriptedServer([
      .none, .error(412, "PreconditionFailed"),
      .ok(fields: "ETag: \"t\"\r\nx-amz-meta-needletail-write: {write}\r\n"),
    ])
    let bucket = try bucket(server)
    try await ScriptedServer.run { try bucket.write([1, 2, 3], to: "a", replacing: false) }
    #expect(server.asked.map { $0.line.split(separator: " ")[0] } == ["PUT", "PUT", "HEAD"])
    #expect(server.asked[0].head.contains("if-none-match: *"))
  }

  @Test func reportsAnotherWritersObject() async throws {
    let answers: [ScriptedServer.Answer] = [
      .error(412, "PreconditionFailed"), .ok(fields: "ETag: \"t\"\r\nx-amz-meta-needletail-write: another\r\n"),
    ]
    // The answer to HEAD has no body.
    #expect(
      try await fault(answers) { bucket throws(ObjectStoreError) in
        try bucket.write([1], to: "a", replacing: false)
      } == .conditionFailed)
  }

  @Test func sendsLargeObjectsInPartsAndCompletesThemUnderACondition() async throws {
    let server = try ScriptedServer([
      .ok("<InitiateMultipartUploadResult><UploadId>u/1</UploadId></InitiateMultipartUploadResult>"),
      .ok(fields: "ETag: \"p1\"\r\n"), .ok(fields: "ETag: \"p2\"\r\n"),
      .ok("<CompleteMultipartUploadResult><ETag>\"whole-2\"</ETag></CompleteMultipartUploadResult>"),
    ])
    let bucket = try bucket(server)
    try await ScriptedServer.run { try bucket.write(Array("abcde".utf8), to: "a", replacing: false, partBytes: 3) }
    let asked = server.asked
    #expect(
      asked.map(\.line) == [
        "POST /models/top/a?uploads= HTTP/1.1", "PUT /models/top/a?partNumber=1&uploadId=u%2F1 HTTP/1.1",
        "PUT /models/top/a?partNumber=2&uploadId=u%2F1 HTTP/1.1", "POST /models/top/a?uploadId=u%2F1 HTTP/1.1",
      ])
    #expect(asked[1].body == "abc" && asked[2].body == "de")
    #expect(asked[3].head.contains("if-none-match: *"))
    #expect(asked[3].body.contains("<Part><PartNumber>2</PartNumber><ETag>\"p2\"</ETag></Part>"))
  }

  @Test func abortsAnUploadWhosePartsFailAndOneThatFailsBehindASuccess() async throws {
    let server = try ScriptedServer([
      .ok("<R><UploadId>u</UploadId></R>"), .ok(fields: "ETag: \"p1\"\r\n"), .error(403, "AccessDenied"), .status(204),
    ])
    let bucket = try bucket(server)
    await #expect(throws: ObjectStoreError.self) {
      try await ScriptedServer.run { try bucket.write([1, 2], to: "a", replacing: true, partBytes: 1) }
    }
    #expect(server.asked.last?.line == "DELETE /models/top/a?uploadId=u HTTP/1.1")
    let hidden: [ScriptedServer.Answer] = [
      .ok("<R><UploadId>u</UploadId></R>"), .ok(fields: "ETag: \"p1\"\r\n"), .ok(fields: "ETag: \"p2\"\r\n"),
      .ok("<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>"), .status(204),
    ]
    let later: [ScriptedServer.Answer] = Array(repeating: hidden[3], count: 3)
    #expect(
      try await fault(Array(hidden[..<4]) + later + [hidden[4]]) { bucket throws(ObjectStoreError) in
        try bucket.write([1, 2], to: "a", replacing: true, partBytes: 1)
      } == .server)
  }

  @Test func findsOutWhetherTheStoreObeysConditions() async throws {
    let check = { @Sendable (bucket: Bucket) throws(ObjectStoreError) in try bucket.checkWritable() }
    #expect(try await fault([.error(412, "PreconditionFailed")], check) == nil)
    #expect(try await fault([.ok(), .error(412, "PreconditionFailed")], check) == nil)
    #expect(try await fault([.ok(), .ok()], check) == .unsupported)
    #expect(try await fault([.error(501, "NotImplemented")], check) == .unsupported)
    #expect(try await fault([.error(403, "AccessDenied")], check) == .denied)
  }

  @Test func downloadsIntoAFileAndBeginsAnewAfterATornAnswer() async throws {
    let directory = try TemporaryDirectory()
    let server = try ScriptedServer([
      .cut("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nXY"), .ok("hello", fields: "x-amz-meta-sha256: abc\r\n"),
    ])
    let bucket = try bucket(server)
    let path = directory.file("copy")
    let noted = try await ScriptedServer.run {
      let file = try FileDescriptor(opening: path, O_RDWR | O_CREAT, mode: 0o600)
      return try bucket.download(BucketObject(path: "a", tag: "t", bytes: 5), into: file)
    }
    #expect(noted == "abc")
    #expect(try directory.read("copy") == Array("hello".utf8))
  }

  @Test(arguments: ["four", "longer"])
  func refusesAnObjectOfAnotherSizeThanListed(body: String) async throws {
    let directory = try TemporaryDirectory()
    let path = directory.file("copy")
    let answers = Array(repeating: ScriptedServer.Answer.ok(body), count: RetryPolicy.attemptsMax)
    #expect(
      try await fault(answers) { bucket throws(ObjectStoreError) in
        guard let file = try? FileDescriptor(opening: path, O_RDWR | O_CREAT, mode: 0o600) else { return }
        _ = try bucket.download(BucketObject(path: "a", tag: "t", bytes: 5), into: file)
      } == .torn)
  }
}
