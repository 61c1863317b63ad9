import Glibc
import NeedletailCapture
import NeedletailCore
import NeedletailEngine
import NeedletailMetrics
import NeedletailModels
import NeedletailTestSupport
import Synchronization
import Testing

@testable import NeedletailServing

/// Calls of a batcher are captured by rules, with the bits that their callers got.
@Suite("Capturing", .timeLimit(.minutes(10)))
struct CaptureTests {
  private let temporary: TemporaryDirectory
  private let path: String

  init() throws {
    temporary = try TemporaryDirectory()
    path = temporary.file("capture")
  }

  /// Sends calls to a model named `m` and returns what was captured of them.
  private func captured(
    _ rule: CaptureRule, _ definition: ModelDefinition = ModelFixtures.linearRegression(weights: [2, -3], bias: 1),
    bounds: CaptureBounds = CaptureBounds(), workers: Int = 0, planRows: Int = 256, warmUp: [WarmUpRun] = [],
    _ body: (BatcherBench) throws -> Void
  ) async throws -> (calls: [CapturedCall], bench: BatcherBench) {
    var service: CaptureService?
    let directory = try CaptureDirectory(creating: path, bounds)
    let bench = BatcherBench(workers: workers) { metrics in
      service = CaptureService(directory, rules: CaptureRules(["m": rule]), key: [], metrics: metrics) {
        Issue.record("\($0)")
      }
      return CallKeeping(capture: service)
    }
    defer { bench.stop() }
    let live = try bench.live(definition, planRows: planRows, warmUp: warmUp)
    bench.publish(live)
    bench.meet(live)
    bench.writer.time = .now()
    try body(bench)
    await service?.stop()
    var calls: [CapturedCall] = []
    for file in try SegmentFile.all(at: path) {
      #expect(!file.isOpen)
      let summary = try CaptureReader.read(file.path) { call in
        calls.append(call)
        return true
      }
      #expect(summary.isComplete)
      #expect(summary.faults.isEmpty)
    }
    return (calls, bench)
  }

  private func lost(_ bench: BatcherBench, _ reason: String) -> UInt64 {
    bench.metrics.counter(
      "needletail_capture_lost_total", help: "Calls of a rule, and outcomes of them, that were not written, by reason.",
      labels: [("reason", reason)]
    ).value
  }

  @Test func everyCallIsCapturedAtARateOfOne() async throws {
    let (calls, bench) = try await captured(CaptureRule(rate: 1)) { bench in
      bench.call(1, [[1, 3], [3, 9]])
      bench.call(2, [[0.5, 0.25]])
      bench.run()
      bench.call(3, [[.nan, 0]])
      bench.call(4, [[7, 7]])
      bench.run()
    }
    #expect(calls.map(\.id) == [1, 2, 3, 4])
    #expect(calls.allSatisfy { $0.reasons == .rate && $0.model.name == "m" && $0.model.version == 1 })
    // 2x − 3y + 1
    #expect(calls[0].answers.map(\.values) == [[-6, -20]])
    #expect(calls[1].answers.map(\.values) == [[1.25]])
    #expect(calls[2].status == .invalidArgument, "a value is missing that may not be")
    #expect(calls[3].answers.map(\.values) == [[-6]])
    #expect(calls[0].inputColumns.map(\.values) == [[.float(1), .float(3)], [.float(3), .float(9)]])
    #expect(calls[0].inputColumns.map(\.name) == ["x0", "x1"])
    #expect(calls[0].batchRows == 3)
    let now = UnixTime.nowMilliseconds() * 1000
    #expect(calls.allSatisfy { $0.microseconds > now - 60_000_000 && $0.microseconds < now + 1_000_000 })
    let counter = bench.metrics.counter(
      "needletail_capture_calls_total", help: "Calls that were captured and written.", labels: [("model", "m")])
    #expect(counter.value == 4)
  }

  @Test(arguments: [0, 2])
  func callsOfLoopAndWorkersAreCapturedAlike(workers: Int) async throws {
    let expensive = [WarmUpRun(rows: 1, nanoseconds: 1_000_000), WarmUpRun(rows: 4, nanoseconds: 4_000_000)]
    let (calls, bench) = try await captured(
      CaptureRule(rate: 1), workers: workers, planRows: 4, warmUp: workers == 0 ? [] : expensive
    ) { bench in
      bench.call(1, [[1, 3], [3, 9]])
      // More rows than one run takes.
      bench.call(2, (0..<9).map { [Float($0), 1] })
      bench.run()
      let deadline = Instant.now().advanced(byMicroseconds: 20_000_000)
      while bench.writer.answers.count < 2 {
        try #require(Instant.now() < deadline)
        bench.batcher.collect(into: bench.writer)
        usleep(100)
      }
      bench.run()
    }
    let byID = Dictionary(uniqueKeysWithValues: calls.map { ($0.id, $0) })
    for id in [UInt64(1), 2] {
      #expect(byID[id]?.answers.map(\.values) == bench.writer.answers[id]?.values)
      #expect(byID[id]?.inputs.first?.shape == [id == 1 ? 2 : 9, 2])
    }
    #expect(byID[2]?.inputColumns[0].values == (0..<9).map { .float(Float($0)) })
  }

  @Test func onlyErrorsAreCapturedWhereARuleSaysSo() async throws {
    let (calls, bench) = try await captured(CaptureRule(errors: true)) { bench in
      bench.call(1, [[1, 3]])
      bench.call(2, [[1, 3, 5]])
      bench.call(3, [[1, 3]], timeoutMicroseconds: 1000)
      bench.writer.time = bench.writer.time.advanced(byMicroseconds: 5000)
      bench.run()
      bench.call(4, [[1, 3]], outputs: ["nothing"])
      bench.run()
    }
    #expect(calls.map(\.id) == [2, 3, 4].filter { bench.writer.errors[$0] != nil })
    #expect(Set(calls.map(\.id)) == [2, 3, 4])
    #expect(calls.allSatisfy { $0.reasons == .error && $0.answers.isEmpty && $0.rows == 0 })
    #expect(calls.map(\.status) == calls.map { bench.writer.errors[$0.id]?.code })
    #expect(calls.first { $0.id == 2 }?.inputs.first?.shape == [1, 3])
  }

  @Test func slowCallsAreCaptured() async throws {
    let (calls, _) = try await captured(CaptureRule(slowMicroseconds: 2000)) { bench in
      bench.call(1, [[1, 3]])
      bench.run()
      bench.call(2, [[1, 3]])
      bench.writer.time = bench.writer.time.advanced(byMicroseconds: 2500)
      bench.run()
    }
    #expect(calls.map(\.id) == [2])
    #expect(calls.first?.reasons == .slow)
    #expect(calls.first?.queueMicroseconds == 2500)
  }

  @Test func callsWhoseTimeRanOutAreSlow() async throws {
    let (calls, _) = try await captured(CaptureRule(slowMicroseconds: 2000)) { bench in
      bench.call(1, [[1, 3]], timeoutMicroseconds: 1000)
      bench.writer.time = bench.writer.time.advanced(byMicroseconds: 5000)
      bench.run()
      // Wrong, and at once.
      bench.call(2, [[1, 3, 5]])
      bench.run()
    }
    #expect(calls.map(\.id) == [1])
    #expect(calls.first?.reasons == .slow)
    #expect(calls.first?.status == .deadlineExceeded)
    #expect(calls.first?.queueMicroseconds == 5000)
  }

  @Test func aCallWhoseRequestFindsNoRoomIsAnsweredAndNotCaptured() async throws {
    let wide = ModelFixtures.linearRegression(weights: [Float](repeating: 1, count: 300), bias: 0)
    let rows = [[Float]](repeating: [Float](repeating: 1, count: 300), count: 3)
    let cost = [WarmUpRun(rows: 1, nanoseconds: 1_000_000), WarmUpRun(rows: 4, nanoseconds: 4_000_000)]
    let (calls, bench) = try await captured(CaptureRule(rate: 1), wide, workers: 1, planRows: 4, warmUp: cost) {
      bench in
      func answer(_ id: UInt64) throws {
        bench.call(id, rows)
        bench.run()
        let deadline = Instant.now().advanced(byMicroseconds: 20_000_000)
        while bench.writer.answers[id] == nil {
          try #require(Instant.now() < deadline && bench.writer.errors.isEmpty)
          bench.batcher.collect(into: bench.writer)
          usleep(100)
        }
      }
      // Leaves room for 1024 floats: for the 900 of the rows, and not for as many of the request.
      let taken = bench.batcher.workers?.slab.take(
        inputFloats: Limits.queuedFloatsMax - 1024, outputFloats: 0, isLarge: true)
      let other = try #require(taken)
      try answer(1)
      bench.batcher.workers?.slab.giveBack(other)
      try answer(2)
      bench.run()
    }
    #expect(bench.writer.answers[1]?.values == [[300, 300, 300]])
    #expect(lost(bench, "busy") == 1)
    #expect(calls.map(\.id) == [2])
  }

  @Test func aSegmentEndsInTime() async throws {
    var bounds = CaptureBounds()
    // An eighth of it is less than a second.
    bounds.secondsMax = 7
    let (calls, _) = try await captured(CaptureRule(rate: 1), bounds: bounds) { bench in
      bench.call(1, [[1, 3]])
      bench.run()
      let deadline = Instant.now().advanced(byMicroseconds: 20_000_000)
      while try SegmentFile.all(at: path).allSatisfy(\.isOpen) {
        try #require(Instant.now() < deadline)
        usleep(100)
      }
    }
    #expect(calls.map(\.id) == [1])
  }

  @Test func aVersionWithoutAFeatureThatItsRuleRedactsIsNotCaptured() async throws {
    let directory = try CaptureDirectory(creating: path, CaptureBounds())
    let said = Mutex<[String]>([])
    let bench = BatcherBench()
    let live = try bench.live(ModelFixtures.linearRegression(weights: [2, -3], bias: 1))
    let redacted = [CapturedModel.Redacted(feature: "X-1", redaction: .drop)]
    let rule = CaptureRule(rate: 1, redacted: redacted)
    let own = CaptureService(
      directory, rules: CaptureRules(["m": rule]), key: [], metrics: bench.metrics
    ) { sentence in said.withLock { $0.append(sentence) } }
    for shard in 0..<3 { #expect(own.tap(for: live, own.lane(shard: shard)) == nil) }
    await own.stop()
    #expect(
      said.withLock { $0 } == [
        "capture: m version 1: redact: expected features of the model, found \"X-1\"; none of its calls are captured"
      ])
    // The rule of other models may name what only some of them have.
    let others = CaptureService(
      directory, rules: CaptureRules(["*": rule]), key: [], metrics: bench.metrics
    ) { sentence in said.withLock { $0.append(sentence) } }
    #expect(others.tap(for: live, others.lane(shard: 0)) != nil)
    await others.stop()
    #expect(said.withLock { $0.count } == 1)
  }

  @Test func unsureAnswersAreCaptured() async throws {
    let definition = ModelFixtures.mlp(widths: [2, 4, 3])
    let engine = try CompiledModel(definition)
    var random = SplitMix64(seed: 5)
    let rows = (0..<50).map { _ in [random.nextFloat() * 8 - 4, random.nextFloat() * 8 - 4] }
    let answers = try engine.answers(for: rows.map { $0.map { Cell.number(Double($0)) } })
    guard case .numbers(let values) = answers.first(where: { $0.name == "probabilities" })?.answer else {
      Issue.record("no probabilities")
      return
    }
    let confidence = (0..<50).map { values[3 * $0..<3 * $0 + 3].max()! }
    let limit = confidence.sorted()[20]
    let (calls, _) = try await captured(CaptureRule(confidenceBelow: limit), definition) { bench in
      for (index, row) in rows.enumerated() { bench.call(UInt64(index), [row]) }
      bench.run()
    }
    #expect(calls.map(\.id) == confidence.indices.filter { confidence[$0] < limit }.map { UInt64($0) })
    #expect(calls.allSatisfy { $0.reasons == .confidence })
  }

  @Test func aRateDrawsItsShare() async throws {
    let (calls, _) = try await captured(CaptureRule(rate: 0.25)) { bench in
      for id in 0..<4000 {
        bench.call(UInt64(id), [[1, 3]])
        if id % 50 == 0 { bench.run() }
      }
      bench.run()
    }
    // Four standard deviations of a binomial distribution: 4 · √(4000 · 0.25 · 0.75) = 110.
    #expect((890...1110).contains(calls.count), "\(calls.count)")
  }

  @Test func redactedFeaturesAreNotWritten() async throws {
    let rule = CaptureRule(rate: 1, redacted: [.init(feature: "x1", redaction: .drop)])
    let (calls, _) = try await captured(rule) { bench in
      bench.call(1, [[1, 3]])
      bench.run()
    }
    #expect(calls.first?.inputColumns.map(\.values) == [[.float(1)], [.missing]])
    #expect(calls.first?.answers.map(\.values) == [[-6]])
    #expect(calls.first?.isRedacted == true)
  }

  @Test func otherModelsAreNotCaptured() async throws {
    let directory = try CaptureDirectory(creating: path, CaptureBounds())
    let bench = BatcherBench { metrics in
      CallKeeping(
        capture: CaptureService(
          directory, rules: CaptureRules(["other": CaptureRule(rate: 1)]),
          key: [], metrics: metrics
        ) { Issue.record("\($0)") })
    }
    let live = try bench.live(ModelFixtures.linearRegression(weights: [2, -3], bias: 1))
    bench.publish(live)
    bench.meet(live)
    bench.call(1, [[1, 3]])
    bench.run()
    #expect(bench.writer.answers.count == 1)
    #expect(try SegmentFile.all(at: path).isEmpty)
  }

  @Test func callsThatAreTooLargeAreCountedAsLost() async throws {
    let wide = ModelFixtures.linearRegression(weights: [Float](repeating: 1, count: 300), bias: 0)
    let rows = Limits.captureRecordBytesMax / (300 * 4) + 1
    let (calls, bench) = try await captured(CaptureRule(rate: 1), wide) { bench in
      bench.call(1, (0..<rows).map { _ in [Float](repeating: 1, count: 300) })
      bench.call(2, [[Float](repeating: 2, count: 300)])
      bench.run()
    }
    #expect(bench.writer.answers.count == 2)
    #expect(calls.map(\.id) == [2])
    #expect(lost(bench, "large") == 1)
    #expect(lost(bench, "busy") == 0)
  }
}
