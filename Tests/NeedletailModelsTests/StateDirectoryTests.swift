import Foundation
import Logging
import NeedletailCore
import NeedletailMetrics
import NeedletailTestSupport
import Testing

@testable import NeedletailModels

@Suite("State directory")
struct StateDirectoryTests {
  private struct Note: Codable, Equatable {
    var model: String
    var versions: [UInt64]
  }

  private let note = Note(model: "digits", versions: [3, .max])

  @Test func stateIsReadBackByTheNextProcess() throws {
    let directory = try TemporaryDirectory()
    let path = directory.file("state")
    do {
      let state = try StateDirectory(creating: path)
      #expect(try state.read(Note.self, from: "note.json") == nil)
      try state.write(Note(model: "first", versions: []), to: "note.json")
      try state.write(note, to: "note.json")
    }
    #expect(try StateDirectory(creating: path).read(Note.self, from: "note.json") == note)
    // Nothing is left of how it was written.
    #expect(try directory.entries(of: "state") == ["note.json"])
  }

  @Test func withoutADirectoryNoStateIsKept() throws {
    try StateDirectory.inMemory.write(note, to: "note.json")
    #expect(try StateDirectory.inMemory.read(Note.self, from: "note.json") == nil)
    #expect(!StateDirectory.inMemory.isDurable)
  }

  @Test(arguments: [
    "", "{", "[]", #"{"model": 1, "versions": []}"#, #"{"model": "m"}"#, #"{"model": "m", "versions": [-1]}"#,
    #"{"model": "m", "versions": [1e400]}"#, "\u{0}", String(repeating: "[", count: 4000),
  ])
  func aFileOfOtherContentIsATypedError(_ text: String) throws {
    let directory = try TemporaryDirectory()
    let state = try StateDirectory(creating: directory.path)
    try directory.write(Array(text.utf8), to: "note.json")
    let error = #expect(throws: StateError.self) { try state.read(Note.self, from: "note.json") }
    #expect(error?.reason == .malformed)
    #expect(error?.message.contains("\n") == false)
  }

  @Test func anEndlessFileIsNotRead() throws {
    let directory = try TemporaryDirectory()
    let state = try StateDirectory(creating: directory.path)
    try directory.write([UInt8](repeating: 0x20, count: Limits.stateFileBytesMax + 1), to: "note.json")
    #expect(throws: StateError.self) { try state.read(Note.self, from: "note.json") }
    #expect(mkfifo(directory.file("note.json"), 0o600) == 0)
    #expect(throws: StateError.self) { try state.read(Note.self, from: "note.json") }
    symlink("/dev/zero", directory.file("note.json"))
    #expect(throws: StateError.self) { try state.read(Note.self, from: "note.json") }
  }

  @Test func aFileThatCannotBeReadIsKeptForPeopleToLookAt() throws {
    let directory = try TemporaryDirectory()
    let state = try StateDirectory(creating: directory.path)
    #expect(state.copies.isEmpty)
    for text in ["first", "second", "third", "fourth", "fifth", "sixth"] {
      try directory.write(Array(text.utf8), to: "note.json")
      let error = #expect(throws: StateError.self) { try state.read(Note.self, from: "note.json") }
      let copy = try #require(state.copies.last)
      #expect(error?.message.hasSuffix("; kept as \(copy)") == true)
      #expect(try String(contentsOfFile: directory.file(copy), encoding: .utf8) == text)
      // Copies are named by the millisecond.
      usleep(2000)
    }
    #expect(state.copies.count == Limits.stateCopiesMax)
    try state.write(note, to: "note.json")
    #expect(try state.read(Note.self, from: "note.json") == note)
    #expect(state.copies.count == Limits.stateCopiesMax)
  }

  @Test func aSecondServerIsRefusedAsLongAsTheFirstRuns() throws {
    let directory = try TemporaryDirectory()
    var first: StateDirectory? = try StateDirectory(creating: directory.path)
    let error = #expect(throws: StateError.self) { try StateDirectory(creating: directory.path) }
    #expect(error?.reason == .taken)
    #expect(
      error?.message
        == "\(directory.path): expected a state directory that no other server uses, found one in use; each needs its own"
    )
    try first?.write(note, to: "note.json")
    first = nil
    #expect(try StateDirectory(creating: directory.path).read(Note.self, from: "note.json") == note)
  }

  @Test func whatKilledWritersLeftIsRemovedAtStart() throws {
    let directory = try TemporaryDirectory()
    for name in [".rollout.json.tmp-4f9k2", ".accepted-versions.json.tmp-zz", ".mine", "rollout.json"] {
      try directory.write([1], to: name)
    }
    _ = try StateDirectory(creating: directory.path)
    #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path).sorted() == [".mine", "rollout.json"])
  }

  @Test func aPathThatIsNoDirectoryIsRefusedAtStart() throws {
    let directory = try TemporaryDirectory()
    try directory.write([1], to: "file")
    #expect(throws: StateError.self) { try StateDirectory(creating: directory.file("file")) }
    #expect(throws: StateError.self) { try StateDirectory(creating: directory.file("no/such")) }
  }
}

@Suite("State that cannot be written")
struct StateFileTests {
  private struct Note: Codable, Equatable, Sendable { var version: Int }

  private let directory: TemporaryDirectory
  private let metrics = MetricsRegistry(shards: 1)
  private let eventLog = EventLog(capacity: 100, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }) { 1 }

  init() throws { directory = try TemporaryDirectory() }

  private func file(_ state: StateDirectory) -> StateFile<Note> {
    StateFile("note.json", of: state, content: "notes", lost: "going on without", metrics: metrics, eventLog: eventLog)
  }

  private var gauge: Bool { metrics.render().contains("needletail_state_unwritten{file=\"note.json\"} 1") }

  /// What a full disk does, for the superuser too: a directory that is not empty cannot be replaced by a file.
  private func block() throws {
    try? FileManager.default.removeItem(atPath: directory.file("note.json"))
    try FileManager.default.createDirectory(
      atPath: directory.file("note.json/in-the-way"), withIntermediateDirectories: true)
  }

  @Test func isTriedAgainUntilItIsWrittenAndSaysSo() throws {
    let state = try StateDirectory(creating: directory.path)
    var file = file(state)
    #expect(file.read() == nil)
    file.write(Note(version: 1))
    #expect(file.retryDelay == nil && file.problem.isEmpty && !gauge)
    try block()
    file.write(Note(version: 2))
    #expect(!file.problem.isEmpty && gauge)
    var delays: [Duration] = []
    for _ in 0..<8 {
      delays.append(try #require(file.retryDelay))
      file.writeAgain()
    }
    #expect(delays == [500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000].map { .milliseconds($0) })
    let alarms = eventLog.last(100).events.filter { $0.kind == .alarm }
    #expect(alarms.map(\.message) == ["notes not written, trying again until it is: a restart before that forgets it"])
    // What is decided meanwhile is what gets written.
    file.write(Note(version: 3))
    try FileManager.default.removeItem(atPath: directory.file("note.json"))
    file.writeAgain()
    #expect(file.retryDelay == nil && file.problem.isEmpty && !gauge)
    #expect(eventLog.last(1).events.first?.message == "notes written again")
    #expect(try state.read(Note.self, from: "note.json") == Note(version: 3))
  }

  @Test func goingBackToWhatWasWrittenLastIsWrittenToo() throws {
    let state = try StateDirectory(creating: directory.path)
    var file = file(state)
    file.write(Note(version: 1))
    try block()
    file.write(Note(version: 2))
    file.write(Note(version: 1))
    try FileManager.default.removeItem(atPath: directory.file("note.json"))
    file.writeAgain()
    #expect(try state.read(Note.self, from: "note.json") == Note(version: 1))
  }
}
