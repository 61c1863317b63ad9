import NeedletailCore
import NeedletailMetrics
import NeedletailProtobuf
import NeedletailServing
import NeedletailSystem
import Testing

@testable import NeedletailServer

/// The examples are those of W3C Trace Context, 3.2 and 4.3.
@Suite("Trace contexts") struct TraceContextTests {
  private static func read(_ text: String) -> TraceContext? {
    Array(text.utf8).withUnsafeBytes { TraceContext($0) }
  }

  @Test func aCallerSaysWhichTraceItIsIn() {
    let context = Self.read("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    #expect(context?.trace == TraceID(high: 0x4bf9_2f35_77b3_4da6, low: 0xa3ce_929d_0e0e_4736))
    #expect(context?.parent == 0x00f0_67aa_0ba9_02b7)
    #expect(context?.isSampled == true)
    #expect(Self.read("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00")?.isSampled == false)
    #expect(Self.read("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-02")?.isSampled == false)
    #expect(Self.read("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff")?.isSampled == true)
  }

  @Test func aLaterVersionMaySayMore() {
    #expect(Self.read("cc-12345678901234567890123456789012-1234567890123456-01") != nil)
    #expect(Self.read("cc-12345678901234567890123456789012-1234567890123456-01-what-the-future-will-be-like") != nil)
    #expect(Self.read("cc-12345678901234567890123456789012-1234567890123456-01.what") == nil)
  }

  @Test(arguments: [
    "", "00", "00-12345678901234567890123456789012-1234567890123456-0",
    "00-12345678901234567890123456789012-1234567890123456-011",
    "00-12345678901234567890123456789012-1234567890123456-01-what",
    "ff-12345678901234567890123456789012-1234567890123456-01",
    ".0-12345678901234567890123456789012-1234567890123456-01",
    "00-00000000000000000000000000000000-1234567890123456-01",
    "00-12345678901234567890123456789012-0000000000000000-01",
    "00-1234567890123456789012345678901.-1234567890123456-01",
    "00-12345678901234567890123456789012-123456789012345.-01",
    "00-12345678901234567890123456789012-1234567890123456-0.",
    "00-ABCDEF78901234567890123456789012-1234567890123456-01",
    "00_12345678901234567890123456789012_1234567890123456_01",
    "traceparent",
  ])
  func whatIsNoTraceCountsAsNone(_ text: String) { #expect(Self.read(text) == nil) }

  @Test func noByteOfATraceMayBeAnyOther() throws {
    let text = Array("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".utf8)
    for index in text.indices {
      for byte in UInt8.min ... .max {
        var other = text
        other[index] = byte
        let isDash = [2, 35, 52].contains(index)
        let isDigit = "0123456789abcdef".utf8.contains(byte)
        let isVersion00 = index > 1 || byte == UInt8(ascii: "0")
        let found = other.withUnsafeBytes { TraceContext($0) }
        guard isVersion00 else { continue }
        #expect((found != nil) == (isDash ? byte == UInt8(ascii: "-") : isDigit), "byte \(byte) at \(index)")
      }
    }
  }

  @Test func ofSeveralFieldsNoneIsTrusted() throws {
    let one = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n"
    for (fields, isTrace) in [(one, true), (one.uppercased().replacing("TRACEPARENT: ", with: "TraceParent: "), false)]
    {
      let head = Array("POST /v2 HTTP/1.1\r\nHost: x\r\n\(fields)\r\n".utf8)
      try head.withUnsafeBytes { bytes in
        let parsed = try #require(try HTTPHead.parse(bytes))
        #expect((TraceContext(parsed.traceparent) != nil) == isTrace)
      }
    }
    let head = Array("POST /v2 HTTP/1.1\r\nHost: x\r\n\(one)\(one)\r\n".utf8)
    try head.withUnsafeBytes { bytes in
      let parsed = try #require(try HTTPHead.parse(bytes))
      #expect(!parsed.traceparent.isEmpty && TraceContext(parsed.traceparent) == nil)
    }
  }
}

@Suite("Traced calls of a loop") struct TraceLaneTests {
  private final class Bench {
    let ring = RecordRing(bytes: 4096)
    let metrics = MetricsRegistry(shards: 1)
    let lane: TraceLane

    init(rate: Double = 0) {
      lane = TraceLane(ring, Wakeup(), TraceCounters(metrics), rate: rate, shard: 0)
    }

    func begin(_ traceparent: String = "", model: String = "wine") -> UInt32 {
      Array(traceparent.utf8).withUnsafeBytes { context in
        Array(model.utf8).withUnsafeBytes { model in
          lane.begin(
            context, model: model, rows: 3, wire: .binary, began: Instant(nanoseconds: 1_000_000),
            arrived: Instant(nanoseconds: 2_000_000))
        }
      }
    }

    func ended() -> [(span: CallSpan, model: String)] {
      var found: [(span: CallSpan, model: String)] = []
      _ = ring.drain { record in
        let span = record.loadUnaligned(as: CallSpan.self)
        found.append((span, String(decoding: record[CallSpan.bytes...], as: UTF8.self)))
      }
      return found
    }

    func count(_ name: String) -> Bool { metrics.render().contains(name) }
  }

  private static let sampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

  @Test func aCallThatItsCallerRecordsIsTraced() throws {
    let bench = Bench()
    let ticket = bench.begin(Self.sampled)
    #expect(ticket != 0)
    bench.lane.end(
      ticket, version: 7, AnswerTiming(queueMicroseconds: 10, computeMicroseconds: 20, batchRows: 5),
      now: Instant(nanoseconds: 2_005_000))
    let (span, model) = try #require(bench.ended().first)
    #expect(model == "wine" && span.version == 7 && span.rows == 3 && span.batchRows == 5 && span.status == .ok)
    #expect(span.parent == 0x00f0_67aa_0ba9_02b7 && span.span != 0 && span.trace.high == 0x4bf9_2f35_77b3_4da6)
    #expect(span.ended == Instant(nanoseconds: 2_030_000), "not before its computation")
  }

  @Test func othersAreDrawn() {
    let never = Bench()
    #expect(never.begin() == 0)
    #expect(never.begin("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00") == 0)
    let always = Bench(rate: 1)
    let ticket = always.begin()
    #expect(ticket != 0)
    #expect(always.begin("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00") == 0, "its caller does not record")
    #expect(always.begin("nonsense") != 0, "as if there were none")
    #expect(always.count("needletail_trace_contexts_invalid_total 1"))
    let half = Bench(rate: 0.5)
    var traced = 0
    for _ in 0..<4000 {
      let ticket = half.begin()
      guard ticket != 0 else { continue }
      traced += 1
      half.lane.cancel(ticket)
    }
    // Six standard deviations: 6 × √(4000 / 4) = 190.
    #expect((1810...2190).contains(traced))
  }

  @Test func anErrorIsTold() throws {
    let bench = Bench()
    bench.lane.end(bench.begin(Self.sampled), .overloaded, now: Instant(nanoseconds: 3_000_000))
    let (span, _) = try #require(bench.ended().first)
    #expect(span.status == .overloaded && span.version == 0 && span.batchRows == 0)
    #expect(span.ended == Instant(nanoseconds: 3_000_000))
  }

  @Test func tooManyAreCountedAndNotTraced() {
    let bench = Bench()
    var tickets: [UInt32] = []
    for _ in 0..<Limits.tracedCallsMax { tickets.append(bench.begin(Self.sampled)) }
    #expect(Set(tickets).count == Limits.tracedCallsMax && !tickets.contains(0))
    #expect(bench.begin(Self.sampled) == 0)
    #expect(bench.count("needletail_trace_calls_lost_total{reason=\"busy\"} 1"))
    bench.lane.cancel(tickets[5])
    #expect(bench.begin(Self.sampled) == tickets[5])
    for ticket in tickets { bench.lane.end(ticket, .ok, now: Instant(nanoseconds: 4_000_000)) }
    let kept = bench.ended().count
    #expect(
      kept > 20 && bench.count("needletail_trace_calls_lost_total{reason=\"busy\"} \(Limits.tracedCallsMax - kept + 1)")
    )
  }

  @Test func aLongNameIsCut() throws {
    let bench = Bench()
    bench.lane.end(
      bench.begin(Self.sampled, model: String(repeating: "x", count: 5000)), .notFound,
      now: Instant(nanoseconds: 3_000_000))
    #expect(try #require(bench.ended().first).model == String(repeating: "x", count: Limits.modelNameBytesMax))
  }
}

@Suite("Schedules of exports") struct ExportScheduleTests {
  private static func at(_ seconds: Double) -> Instant { Instant(nanoseconds: UInt64(seconds * 1e9)) }

  @Test func callsWaitASecondForOthers() {
    var schedule = ExportSchedule()
    #expect(schedule.due == nil)
    schedule.waiting(isFull: false, now: Self.at(5))
    schedule.waiting(isFull: false, now: Self.at(5.9))
    #expect(schedule.due == Self.at(6))
    schedule.waiting(isFull: true, now: Self.at(5.95))
    #expect(schedule.due == Self.at(5.95))
    #expect(schedule.ended(.taken, now: Self.at(6)) == .done)
    #expect(schedule.due == nil)
  }

  @Test func pausesDoubleUntilTheCallsAreGivenUp() {
    var schedule = ExportSchedule()
    for pause in [1.0, 2, 4, 8] {
      #expect(schedule.ended(.failed(retryAfterSeconds: nil), now: Self.at(100)) == .again)
      #expect(schedule.due == Self.at(100 + pause))
      schedule.waiting(isFull: true, now: Self.at(100))
      #expect(schedule.due == Self.at(100 + pause), "others wait too")
    }
    #expect(schedule.ended(.failed(retryAfterSeconds: nil), now: Self.at(200)) == .givenUp)
    #expect(schedule.ended(.failed(retryAfterSeconds: nil), now: Self.at(300)) == .again)
    #expect(schedule.due == Self.at(301), "the next calls are tried anew")
  }

  @Test func aCollectorMayAskForTime() {
    var schedule = ExportSchedule()
    #expect(schedule.ended(.failed(retryAfterSeconds: 7), now: Self.at(10)) == .again)
    #expect(schedule.due == Self.at(17))
    #expect(schedule.ended(.failed(retryAfterSeconds: .max), now: Self.at(20)) == .again)
    #expect(schedule.due == Self.at(50), "but not for hours")
    #expect(schedule.ended(.failed(retryAfterSeconds: -5), now: Self.at(60)) == .again)
    #expect(schedule.due == Self.at(64))
    #expect(schedule.ended(.refused, now: Self.at(70)) == .givenUp)
  }
}

@Suite("Answers of collectors") struct CollectorAnswerTests {
  @Test func aCollectorSaysWhatItDidNotTake() {
    var partial = MessageWriter()
    partial.message(1) { message in
      message.uint(1, 3)
      message.string(2, "too old")
    }
    #expect(SpanEncoder.rejected(by: partial.bytes) == (3, "too old"))
    #expect(SpanEncoder.rejected(by: []).spans == 0)
  }

  @Test(arguments: [[0x0A], [0x0A, 0xFF], [0xFF, 0xFF], Array("<html>".utf8), [0x0A, 2, 0x08]] as [[UInt8]])
  func aWrongAnswerSaysNothing(_ bytes: [UInt8]) { #expect(SpanEncoder.rejected(by: bytes).spans == 0) }

  @Test func aNegativeNumberIsNone() {
    var partial = MessageWriter()
    partial.message(1) { $0.uint(1, UInt64(bitPattern: -1)) }
    #expect(SpanEncoder.rejected(by: partial.bytes).spans == 0)
  }
}

@Suite("Settings of tracing") struct TracingOptionsTests {
  private static func collector(_ endpoint: String, headers: [(name: String, value: String)] = []) -> String {
    do throws(ConfigurationError) {
      return try TraceCollector(endpoint, headers: headers, authorities: nil).name
    } catch {
      return "error: \(error.message)"
    }
  }

  @Test func anAddressMayHaveAPath() {
    #expect(Self.collector("http://127.0.0.1:4318") == "http://127.0.0.1:4318/v1/traces")
    #expect(Self.collector("http://127.0.0.1:4318/") == "http://127.0.0.1:4318/v1/traces")
    #expect(Self.collector("https://otlp.example.org/otlp") == "https://otlp.example.org/otlp/v1/traces")
    #expect(Self.collector("https://otlp.example.org/v1/traces") == "https://otlp.example.org/v1/traces")
  }

  @Test(arguments: [
    "127.0.0.1:4318", "grpc://127.0.0.1:4317", "http://", "http://a b", "http://a/?key=1", "http://a/x#y", "http://a:0",
    "http://a/x y",
  ])
  func aWrongAddressIsSaid(_ endpoint: String) {
    #expect(Self.collector(endpoint).hasPrefix("error: tracing.endpoint"))
  }

  @Test func aKeyDoesNotTravelInTheClear() {
    let key = [(name: "api-key", value: "secret")]
    #expect(Self.collector("http://otlp.example.org", headers: key).hasPrefix("error: tracing.headers_file"))
    #expect(Self.collector("http://localhost:4318", headers: key) == "http://localhost:4318/v1/traces")
    #expect(Self.collector("https://otlp.example.org", headers: key) == "https://otlp.example.org/v1/traces")
  }
}
