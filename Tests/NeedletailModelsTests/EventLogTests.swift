import Logging
import NeedletailCore
import Synchronization
import Testing

@testable import NeedletailModels

@Suite struct EventLogTests {
  private let lines = LogLines()
  private let log: EventLog

  init() {
    let lines = lines
    log = EventLog(capacity: 4, logger: Logger(label: "test") { _ in RecordingHandler(lines: lines) }) { 1_700 }
  }

  private func emit(_ count: Int) {
    for number in 1...count { log.emit(.store, .info, "event \(number)") }
  }

  @Test func numbersEventsFromOneWithoutGaps() {
    emit(3)
    #expect(log.page(after: 0).events.map(\.sequence) == [1, 2, 3])
    #expect(log.page(after: 0).events.map(\.message) == ["event 1", "event 2", "event 3"])
    #expect(log.page(after: 0).events.allSatisfy { $0.milliseconds == 1_700 })
  }

  @Test func theNewestEventsAreKeptAndTheOldestIsReported() {
    emit(6)
    let page = log.page(after: 0)
    #expect(page.oldest == 3 && page.newest == 6)
    #expect(page.events.map(\.sequence) == [3, 4, 5, 6])
  }

  @Test(
    arguments: [
      (0, 10, [3, 4, 5, 6]), (3, 10, [4, 5, 6]), (4, 1, [5]), (6, 10, []), (7, 10, []), (UInt64.max, 10, []),
      (0, 0, []),
    ] as [(UInt64, Int, [UInt64])])
  func givesWhatCameAfterASequence(after: UInt64, limit: Int, expected: [UInt64]) {
    emit(6)
    #expect(log.page(after: after, limit: limit).events.map(\.sequence) == expected)
  }

  @Test func anEmptyLogHasNothingAfterAnything() {
    for after: UInt64 in [0, 1, .max] {
      #expect(log.page(after: after) == EventLog.Page(oldest: 0, newest: 0, events: []))
    }
  }

  @Test func theLastEventsAreTheNewest() {
    emit(6)
    #expect(log.last(2).events.map(\.sequence) == [5, 6])
    #expect(log.last(100).events.map(\.sequence) == [3, 4, 5, 6])
  }

  @Test func cutsLongTextsAtAScalarAndDropsFactsBeyondTheLimit() throws {
    let facts = (0...Limits.eventFactsMax).map { Event.Fact("fact\($0)", String(repeating: "ä", count: 400)) }
    log.emit(.alarm, .error, "x" + String(repeating: "ä", count: 400), facts)
    let event = try #require(log.last(1).events.first)
    #expect(event.facts.count == Limits.eventFactsMax)
    // 512 bytes end within the 256th "ä" of the message, for an "x" stands before it.
    #expect(event.message == "x" + String(repeating: "ä", count: 255) + "…")
    #expect(event.facts[0].value == String(repeating: "ä", count: 256) + "…")
  }

  @Test func writesOneLogLineWithItsFactsAndNumber() throws {
    log.emit(
      .version, .warning, "model version rejected", model: try ModelID("wine"), version: ModelVersion(7),
      [.init("state", "rejected"), .init("reason", "")])
    #expect(
      lines.all == ["warning model version rejected event=1 model=wine state=rejected version=7"])
  }

  @Test func eventsBelowTheLogLevelAreKeptButNotLogged() {
    log.emit(.version, .debug, "model version verifying")
    #expect(lines.all.isEmpty)
    #expect(log.last(1).events.count == 1)
  }

  @Test func manyEmittersGetDistinctNumbers() async {
    let log = EventLog(capacity: 4000, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }) { 0 }
    await withTaskGroup { group in
      for _ in 0..<8 {
        group.addTask { for _ in 0..<250 { log.emit(.server, .info, "") } }
      }
    }
    #expect(log.page(after: 0).events.map(\.sequence) == Array(1...2000))
  }
}

/// What was logged, one text per line.
private final class LogLines: Sendable {
  private let lines = Mutex<[String]>([])
  var all: [String] { lines.withLock { $0 } }
  func append(_ line: String) { lines.withLock { $0.append(line) } }
}

private struct RecordingHandler: LogHandler {
  let lines: LogLines
  var logLevel = Logger.Level.info
  var metadata: Logger.Metadata = [:]
  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    let pairs = (event.metadata ?? [:]).sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
    lines.append(([event.level.rawValue, event.message.description] + pairs).joined(separator: " "))
  }
}
