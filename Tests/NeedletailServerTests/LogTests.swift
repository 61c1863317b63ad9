import Foundation
import Logging
import NeedletailCore
import NeedletailTestSupport
import Synchronization
import Testing

@testable import NeedletailServer

@Suite("Logging", .timeLimit(.minutes(10)))
struct LogTests {
  @Test func foreignTextCannotForgeALogLine() {
    let line = LogLine.text(time: "t", level: "info", message: "a\nb", pairs: [("k", "x\ny=\"z\"")])
    #expect(line == "t info a b k=\"x\\ny=\\\"z\\\"\"\n")
    let json = LogLine.json(time: "t", level: "info", message: "a\u{1}", pairs: [("level", "x")])
    #expect(json == #"{"time":"t","level":"info","message":"a\u0001","level_":"x"}"# + "\n")
  }

  @Test func numbersAreNumbersInJSONAndTextsAreNot() throws {
    let lines = Mutex<[String]>([])
    let logger = Logger(label: "test") { _ in
      LineLogHandler(format: .json, level: .debug) { line in lines.withLock { $0.append(line) } }
    }
    logger.info(
      "m",
      metadata: [
        "count": .stringConvertible(7), "large": .stringConvertible(UInt64.max), "seconds": .stringConvertible(0.25),
        "none": .stringConvertible(Double.nan), "model": "7",
      ])
    let line = try #require(lines.withLock { $0.first })
    #expect(
      line.hasSuffix(
        #""message":"m","count":7,"large":18446744073709551615,"model":"7","none":"nan","seconds":0.25}"# + "\n"),
      "\(line)")
  }

  /// A pipe of 4 KiB.
  private static func pipe() throws -> (read: Int32, write: Int32) {
    var ends: [Int32] = [0, 0]
    try #require(Glibc.pipe(&ends) == 0)
    try #require(fcntl(ends[1], 1031 /* F_SETPIPE_SZ */, 4096) == 4096)
    return (ends[0], ends[1])
  }

  private static func readAll(_ descriptor: Int32, until isEnough: (String) -> Bool) -> String {
    var text = ""
    var room = [UInt8](repeating: 0, count: 65_536)
    while !isEnough(text) {
      let count = read(descriptor, &room, room.count)
      guard count > 0 else { break }
      text += String(decoding: room[..<count], as: UTF8.self)
    }
    return text
  }

  @Test func linesThatNobodyReadsAreCountedAndSaidAndHoldNobodyUp() throws {
    let (reading, writing) = try Self.pipe()
    let log = LogWriter(descriptor: writing, bytesMax: 64 << 10) { "dropped \($0)\n" }
    let padding = String(repeating: "x", count: 90)
    // Ten times what pipe and buffer hold. Waiting for a reader would never end, for there is none yet.
    for number in 0..<8000 { log.write("line \(number) \(padding)\n") }
    #expect(log.droppedLines > 0)
    #expect(!log.flush(within: .milliseconds(20)))
    log.write("last\n")
    let text = Self.readAll(reading) { $0.contains("last\n") || $0.contains("dropped \(log.droppedLines)\n") }
    let lines = text.split(separator: "\n")
    let kept = lines.filter { $0.hasPrefix("line ") }
    #expect(kept.allSatisfy { $0.hasSuffix(padding) })
    let said = lines.compactMap { $0.hasPrefix("dropped ") ? UInt64($0.dropFirst("dropped ".count)) : nil }.reduce(0, +)
    #expect(said == log.droppedLines)
    #expect(UInt64(kept.count) + said == 8001 - (lines.contains("last") ? 1 : 0))
    #expect(log.flush(within: .seconds(10)))
    log.write("after\n")
    #expect(Self.readAll(reading) { $0.contains("after\n") }.contains("after\n"))
    // The thread of the writer outlives the test, and so do the ends of its pipe.
  }

  @Test func aDescriptorThatDoesNotBlockGetsEveryLine() throws {
    let (reading, writing) = try Self.pipe()
    try #require(fcntl(writing, F_SETFL, O_NONBLOCK) == 0)
    let log = LogWriter(descriptor: writing, bytesMax: 1 << 20) { "dropped \($0)\n" }
    for number in 0..<1000 { log.write("line \(number)\n") }
    let text = Self.readAll(reading) { $0.contains("line 999\n") }
    #expect(text == (0..<1000).map { "line \($0)\n" }.joined())
  }
}
