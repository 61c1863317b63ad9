import Histogram
import NeedletailWire
import Testing

@testable import NeedletailLoad

@Suite struct StatisticsTests {
  private static func plan(_ pacing: LoadPacing = .closed) -> LoadPlan {
    LoadPlan(
      target: .unix(path: ""), pacing: pacing, frames: RequestFrames(), mix: ModelMix(weights: [1]), names: ["wine"])
  }

  @Test func percentilesAreExactToThreeDigits() throws {
    var statistics = LoadStatistics()
    for microseconds in 1...10_000 { statistics.recordLatency(nanoseconds: UInt64(microseconds) * 1000) }
    for (percentile, expected) in [(50.0, 5000.0), (90, 9000), (99, 9900), (99.9, 9990), (100, 10_000)] {
      let found = try #require(LoadStatistics.microseconds(statistics.latency, percentile))
      #expect(abs(found / expected - 1) < 0.001, "p\(percentile)")
    }
  }

  @Test func anEmptyHistogramHasNoPercentiles() {
    #expect(LoadStatistics.microseconds(LoadStatistics().latency, 50) == nil)
  }

  @Test func latenciesBeyondTheScaleCountAtItsEnd() throws {
    var statistics = LoadStatistics()
    statistics.recordLatency(nanoseconds: .max)
    let most = try #require(LoadStatistics.microseconds(statistics.latency, 100))
    #expect(abs(most / 1e8 - 1) < 0.001)
  }

  @Test func mergingAddsCountsTimesAndVersions() {
    var one = LoadStatistics()
    one.sent = 3
    one.byStatus[6] = 2
    one.count(model: 0, version: 1)
    one.recordLatency(nanoseconds: 1000)
    var other = LoadStatistics()
    other.sent = 4
    other.byStatus[6] = 1
    other.count(model: 0, version: 1)
    other.count(model: 0, version: 2)
    other.recordLatency(nanoseconds: 9_000_000)
    other.recordRefusal(nanoseconds: 5000)
    other.ranLate = 2
    one.merge(other)
    #expect(one.sent == 7)
    #expect(one.byStatus[6] == 3)
    #expect(one.versions.map(\.answers) == [2, 1])
    #expect(one.latency.totalCount == 2)
    #expect(one.refusal.totalCount == 1)
    #expect(one.ranLate == 2)
  }

  @Test func aRunWithoutAnswersFails() {
    #expect(LoadReport(Self.plan(), LoadStatistics()).failure != nil)
  }

  @Test(arguments: 0..<3) func aRunWithOneFalseAnswerFails(_ index: Int) {
    let fault = [\LoadStatistics.wrong, \.mixed, \.strayAnswers][index]
    var statistics = LoadStatistics()
    statistics.good = 1_000_000
    #expect(LoadReport(Self.plan(), statistics).failure == nil)
    statistics[keyPath: fault] = 1
    #expect(LoadReport(Self.plan(), statistics).failure != nil)
  }

  @Test func theReportSaysWhenTheGeneratorFellBehind() {
    var statistics = LoadStatistics()
    statistics.sent = 100
    for _ in 0..<100 { statistics.recordLag(nanoseconds: 3_000_000) }
    let open = LoadReport(Self.plan(.open(ratePerSecond: 100, arrivals: .constant)), statistics)
    #expect(open.generatorBehind)
    #expect(open.lines { text, _ in text }.contains { $0.contains("fell behind") })
    // In a closed loop there is no schedule to fall behind.
    #expect(!LoadReport(Self.plan(), statistics).generatorBehind)
  }

  @Test func theReportShowsCountsTimesAndFaults() {
    var statistics = LoadStatistics()
    statistics.sent = 12_345
    statistics.answered = 12_340
    statistics.good = 12_000
    statistics.goodRows = 48_000
    statistics.byStatus[0] = 12_000
    statistics.byStatus[6] = 340
    statistics.unanswered = 5
    statistics.count(model: 0, version: 3, answers: 12_000)
    for _ in 0..<10 { statistics.recordLatency(nanoseconds: 41_300) }
    let text = LoadReport(Self.plan(), statistics).lines { text, _ in text }.joined(separator: "\n")
    for part in ["12,345", "99.96 %", "4,800 rows/s", "41.3 µs", "OVERLOADED 340", "wine@3 12,000", "never answered"] {
      #expect(text.contains(part), "\(part) in\n\(text)")
    }
  }

  @Test func aLineOfProgressNeverWraps() {
    let parts = [("━━━━", "\u{1b}[32m━━━━\u{1b}[0m"), ("10 req/s", "10 req/s"), ("3 lost", "3 lost")]
    // Colours take no columns.
    #expect(Figures.fitting(parts, columns: 22) == "\u{1b}[32m━━━━\u{1b}[0m  10 req/s  3 lost")
    #expect(Figures.fitting(parts, columns: 21) == "\u{1b}[32m━━━━\u{1b}[0m  10 req/s")
    #expect(Figures.fitting(parts, columns: 1) == "\u{1b}[32m━━━━\u{1b}[0m")
  }

  @Test func figuresAreFormattedForPeople() {
    #expect(Figures.grouped(1_234_567) == "1,234,567")
    #expect(Figures.time(0.85) == "850 ns")
    #expect(Figures.time(9.999) == "10.0 µs")
    #expect(Figures.time(1250) == "1.25 ms")
    #expect(Figures.time(3_100_000) == "3.10 s")
    #expect(Figures.rate(12.25) == "12.3")
    // Rounding never makes the whole of a part.
    #expect(Figures.share(999_999, of: 1_000_000) == "99.99 %")
  }
}
