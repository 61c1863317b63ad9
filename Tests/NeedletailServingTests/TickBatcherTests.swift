import NeedletailCore
import NeedletailEngine
import NeedletailMetrics
import NeedletailModels
import NeedletailTestSupport
import Testing

@testable import NeedletailServing

@Suite("Tick batcher")
struct TickBatcherTests {
  /// y = 2 a − 3 b + 1.
  let line = ModelFixtures.linearRegression(weights: [2, -3], bias: 1)

  @Test func oneTickBecomesOneBatchAndEveryCallGetsItsOwnRows() throws {
    let bench = BatcherBench()
    let model = try bench.live(line)
    bench.publish(model)
    bench.call(1, [[1, 0]])
    bench.call(2, [[0, 1], [2, 2]])
    bench.call(3, [[10, 0]])
    #expect(bench.writer.order.isEmpty, "nothing is answered before the tick ends")
    #expect(bench.batcher.callsPending == 3)
    bench.run()
    #expect(bench.writer.answers[1]?.values == [[3]])
    #expect(bench.writer.answers[2]?.values == [[-2, -1]])
    #expect(bench.writer.answers[3]?.values == [[21]])
    #expect(bench.writer.answers.values.allSatisfy { $0.timing.batchRows == 4 })
    #expect(bench.requests(model, .ok) == 3)
    #expect(model.counters.rows.value == 4)
    #expect(model.counters.batchRows.count == 1)
    #expect(bench.batcher.callsPending == 0)
    #expect(bench.writer.schemasMade == 1)
  }

  @Test func aBadCallIsAnsweredAloneAndTheOthersGoOn() throws {
    let bench = BatcherBench()
    let model = try bench.live(line)
    bench.publish(model)
    bench.call(1, [[1, 0]])
    bench.call(2, [[.nan, 0]])
    bench.call(3, [[1, 2, 3]])
    bench.call(4, [[0, 0]])
    #expect(Set(bench.writer.errors.keys) == [2, 3], "bad calls are answered at once")
    bench.run()
    #expect(bench.writer.answers[1]?.values == [[3]])
    #expect(bench.writer.answers[4]?.values == [[1]])
    #expect(bench.writer.answers[4]?.timing.batchRows == 2)
    #expect(bench.writer.errors[2]?.code == .invalidArgument)
    #expect(bench.writer.errors[2]?.message.contains("x0") == true)
    #expect(bench.requests(model, .invalidArgument) == 2)
  }

  @Test func rejectionsGoOutBeforeWorkThatTakesLong() throws {
    let bench = BatcherBench()
    bench.publish(try bench.live(line, warmUp: [WarmUpRun(rows: 1, nanoseconds: 100_000)]))
    bench.call(1, [[1, 0]])
    bench.call(2, [[.nan, 0]])
    bench.run()
    #expect(bench.writer.answeredAtFlushes.isEmpty, "a tenth of a millisecond is no time to wait for")
    for id in 3...10 as ClosedRange<UInt64> { bench.call(id, [[1, 0]]) }
    bench.call(11, [[.nan, 0]])
    bench.run()
    #expect(bench.writer.answeredAtFlushes == [3], "the answers of the first tick, and the rejection of this one")
  }

  @Test func callsLargerThanOneRunCountAsWorkOfTheirTick() throws {
    let bench = BatcherBench()
    bench.publish(try bench.live(line, planRows: 4, warmUp: [WarmUpRun(rows: 1, nanoseconds: 5_000_000)]))
    let large = [[Float]](repeating: [1, 0], count: 9)
    bench.call(1, large)
    #expect(bench.writer.answers[1] != nil, "45 ms at once: a burst")
    bench.call(2, large)
    #expect(bench.writer.errors[2]?.code == .overloaded, "the second would make it longer than any burst may be")
    bench.run()
  }

  @Test func fullScratchRunsAtOnce() throws {
    let bench = BatcherBench()
    bench.publish(try bench.live(line, planRows: 4))
    bench.call(1, [[1, 0], [1, 0], [1, 0]])
    #expect(bench.writer.order.isEmpty)
    bench.call(2, [[2, 0], [2, 0]])
    #expect(bench.writer.order == [1], "the second call did not fit, so the first ran")
    bench.run()
    #expect(bench.writer.answers[1]?.values == [[3, 3, 3]])
    #expect(bench.writer.answers[2]?.values == [[5, 5]])
  }

  @Test(arguments: [5, 8, 11]) func aCallLargerThanOneRunComesBackWhole(rows: Int) throws {
    let bench = BatcherBench()
    let model = try bench.live(line, planRows: 4)
    bench.publish(model)
    bench.call(1, [[7, 7]])
    bench.call(2, (0..<rows).map { [Float($0), 1] })
    bench.run()
    #expect(bench.writer.answers[1]?.values == [[-6]])
    #expect(bench.writer.answers[2]?.values == [(0..<rows).map { Float($0) * 2 - 2 }])
    #expect(bench.writer.answers[2]?.timing.batchRows == UInt32(rows))
    #expect(model.counters.rows.value == UInt64(rows) + 1)
  }

  @Test func classesAndNumbersOfALargeCallStayTogether() throws {
    let bench = BatcherBench()
    let definition = ModelFixtures.mlp(widths: [3, 5, 4])
    let model = try bench.live(definition, planRows: 2)
    bench.publish(model)
    let rows: [[Float]] = [[1, 2, 3], [-1, 0.5, 2], [0, 0, 0], [3, -3, 1], [-2, -2, -2]]
    bench.call(1, rows)
    bench.run()
    let expected = try model.compiled.answers(for: rows.map { $0.map { Cell.number(Double($0)) } })
    guard case .numbers(let probabilities) = expected[0].answer else {
      Issue.record("probabilities are numbers")
      return
    }
    #expect(bench.writer.answers[1]?.values[0].map(Double.init) == probabilities)
    #expect(bench.writer.answers[1]?.values[1].count == 5)
    #expect(bench.writer.answers[1]?.values[1] == bench.writer.answers[1]?.values[2])
  }

  // MARK: deadlines

  @Test func aCallThatArrivesTooLateIsNotBound() throws {
    let bench = BatcherBench()
    bench.publish(try bench.live(line))
    let deadline = Deadline(arrival: bench.writer.time, timeoutMicroseconds: 5000)
    bench.writer.time = Instant(nanoseconds: bench.writer.time.nanoseconds + 5_000_000)
    let found = "m".utf8.withContiguousStorageIfAvailable {
      bench.decide(CallHead(deadline: deadline, model: UnsafeRawBufferPointer($0), selector: .serving, rows: 1))
    }
    #expect(found?.error?.code == .deadlineExceeded)
  }

  @Test func aCallThatExpiresBeforeItsBatchRunsIsNotComputed() throws {
    let bench = BatcherBench()
    let model = try bench.live(line)
    bench.publish(model)
    bench.call(1, [[1, 0], [1, 1]])
    bench.call(2, [[100, 0], [100, 0], [100, 0]], timeoutMicroseconds: 1000)
    bench.call(3, [[5, 0]], timeoutMicroseconds: 10_000)
    bench.call(4, [[6, 0]], timeoutMicroseconds: 1000)
    bench.writer.time = bench.writer.time.advanced(byMicroseconds: 1000)
    bench.run()
    #expect(bench.writer.errors[2]?.code == .deadlineExceeded)
    #expect(bench.writer.errors[4]?.code == .deadlineExceeded)
    #expect(bench.writer.answers[1]?.values == [[3, 0]])
    #expect(bench.writer.answers[3]?.values == [[11]])
    #expect(
      bench.writer.answers[3]?.timing == AnswerTiming(queueMicroseconds: 1000, computeMicroseconds: 0, batchRows: 3))
    #expect(model.counters.rows.value == 3, "expired rows were not computed")
    #expect(bench.requests(model, .deadlineExceeded) == 2)
    #expect(bench.batcher.callsPending == 0)
  }

  // MARK: names

  @Test func outputsAreTakenByName() throws {
    let bench = BatcherBench()
    let model = try bench.live(ModelFixtures.mlp(widths: [2, 3]))
    bench.publish(model)
    bench.call(1, [[1, 2]], outputs: ["class"])
    bench.call(2, [[1, 2]], outputs: ["klass"])
    bench.run()
    #expect(bench.writer.answers[1]?.values.map(\.count) == [0, 1, 0])
    #expect(bench.writer.errors[2]?.code == .notFound)
    #expect(bench.requests(model, .notFound) == 1)
  }

  @Test func anUnknownModelIsRejectedAndCountedUnderNoName() throws {
    let bench = BatcherBench()
    bench.publish(try bench.live(line))
    bench.call(1, [[1, 0]], model: "mm")
    bench.call(2, [[1, 0]], version: 7)
    bench.run()
    #expect(bench.writer.errors[1]?.code == .notFound)
    #expect(bench.writer.errors[2]?.message.contains("version 7") == true)
    let text = bench.metrics.render()
    #expect(text.contains(#"model="_unknown""#))
    #expect(!text.contains(#"model="mm""#), "a name that a client invents must not become a series")
  }

  @Test func anAnswerTooLargeForAFrameIsRejectedBeforeItIsComputed() throws {
    let bench = BatcherBench(rowsMax: 100_000)
    let model = try bench.live(ModelFixtures.mlp(widths: [1, 1000]))
    bench.publish(model)
    bench.call(1, [[Float]](repeating: [1], count: 20_000))
    bench.call(2, [[Float]](repeating: [1], count: 20_000), outputs: ["class"])
    bench.run()
    #expect(bench.writer.errors[1]?.code == .invalidArgument)
    #expect(bench.writer.errors[1]?.message.contains("20000 rows") == true)
    #expect(bench.writer.answers[2]?.values[1].count == 20_000)
  }

  // MARK: versions

  @Test func versionsOfOneTickAreComputedApart() throws {
    let bench = BatcherBench()
    bench.publish(
      try bench.live(ModelFixtures.constant(2), version: 2), try bench.live(ModelFixtures.constant(1), version: 1))
    bench.call(1, [[0]], version: 1)
    bench.call(2, [[0]])
    bench.call(3, [[0]], version: 1)
    bench.run()
    #expect(bench.writer.answers[1]?.values == [[1]])
    #expect(bench.writer.answers[1]?.version == 1)
    #expect(bench.writer.answers[2]?.values == [[2]])
    #expect(bench.writer.answers[2]?.version == 2)
    #expect(bench.writer.answers[3]?.timing.batchRows == 2)
  }

  @Test func aSwapWithinATickIsSeenByTheNextOne() throws {
    let bench = BatcherBench()
    bench.publish(try bench.live(ModelFixtures.constant(1), version: 1))
    bench.call(1, [[0]])
    bench.publish(try bench.live(ModelFixtures.constant(2), version: 2))
    bench.call(2, [[0]])
    bench.run()
    bench.call(3, [[0]])
    bench.run()
    #expect([1, 2, 3].map { bench.writer.answers[$0]?.version } == [1, 1, 2])
    #expect([1, 2, 3].map { bench.writer.answers[$0]?.values } == [[[1]], [[1]], [[2]]])
  }

  @Test func scratchOfARetiredVersionIsDropped() throws {
    let bench = BatcherBench()
    weak var old: LiveModel?
    do {
      let model = try bench.live(ModelFixtures.constant(1), version: 1)
      bench.publish(model)
      bench.call(1, [[0]])
      bench.run()
      old = model
    }
    bench.publish(try bench.live(ModelFixtures.constant(2), version: 2))
    #expect(old != nil, "the scratch still holds it")
    bench.batcher.sweep()
    bench.registry.reclaim()
    #expect(old == nil)
  }

  // MARK: phases

  @Test func everyPhaseIsRecordedOnceACallWithItsOwnTime() throws {
    let bench = BatcherBench()
    let model = try bench.live(line)
    bench.publish(model)
    bench.call(1, [[1, 0]], receiveMicroseconds: 3)
    bench.call(2, [[1, 0]], receiveMicroseconds: 200)
    bench.writer.time = bench.writer.time.advanced(byMicroseconds: 40)
    bench.run()
    #expect(bench.batcher.hasUnsent)
    #expect(model.counters.sendDuration.count == 0, "not sent yet")
    bench.batcher.sent(at: bench.writer.time.advanced(byMicroseconds: 7))
    #expect(!bench.batcher.hasUnsent)
    let counters = model.counters
    #expect(
      [counters.receiveDuration, counters.queueDuration, counters.computeDuration, counters.sendDuration]
        .map { ($0.sum * 1e6).rounded() } == [203, 80, 0, 14])
    #expect(
      [counters.receiveDuration, counters.queueDuration, counters.computeDuration, counters.sendDuration]
        .map(\.count) == [2, 2, 2, 2])
  }

  @Test(.enabled(if: Allocations.areCounted)) func aLargeCallUsesTheSameMemoryAgain() throws {
    let bench = BatcherBench()
    let model = try bench.live(line, planRows: 4)
    bench.publish(model)
    var buffer = ScratchBuffer()
    #expect(Allocations.during { _ = buffer.reserve(100) } == 1)
    #expect(Allocations.during { _ = buffer.reserve(80) } == 0)
    buffer.trim()
    #expect(buffer.floats.count == 100, "it was used since the last time")
    buffer.trim()
    #expect(buffer.floats.count == 0)
  }

  // MARK: numbers

  @Test func nonFiniteOutputsAreCounted() throws {
    let bench = BatcherBench()
    bench.publish(try bench.live(ModelFixtures.linearRegression(weights: [3e38], bias: 0)))
    bench.call(1, [[1]])
    bench.call(2, [[3e38]])
    bench.run()
    #expect(bench.writer.answers[2]?.values == [[.infinity]])
    #expect(bench.metrics.render().contains(#"needletail_nan_outputs_total{model="m",version="1"} 1"#))
  }

  @Test(arguments: [
    (values: [Float](), count: 0), (values: [1, -0, .greatestFiniteMagnitude, .leastNonzeroMagnitude], count: 0),
    (values: [.nan, 1, .infinity, -.infinity, 0], count: 3),
  ])
  func nonFiniteValuesAreCounted(values: [Float], count: Int) {
    #expect(
      values.withUnsafeBufferPointer {
        NonFinite.count($0.baseAddress ?? UnsafePointer(bitPattern: 4)!, count: $0.count)
      } == count)
  }
}
