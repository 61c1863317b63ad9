import Foundation
import NeedletailCore
import NeedletailModels
import NeedletailTestSupport
import Testing

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
    let state = try StateDirectory(creating: path)
    #expect(try state.read(Note.self, from: "note.json") == nil)
    try state.write(Note(model: "first", versions: []), to: "note.json")
    try state.write(note, to: "note.json")
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
    try FileManager.default.removeItem(atPath: directory.file("note.json"))
    #expect(mkfifo(directory.file("note.json"), 0o600) == 0)
    #expect(throws: StateError.self) { try state.read(Note.self, from: "note.json") }
    try FileManager.default.removeItem(atPath: directory.file("note.json"))
    symlink("/dev/zero", directory.file("note.json"))
    #expect(throws: StateError.self) { try state.read(Note.self, from: "note.json") }
  }

  @Test func aPathThatIsNoDirectoryIsRefusedAtStart() throws {
    let directory = try TemporaryDirectory()
    try directory.write([1], to: "file")
    #expect(throws: StateError.self) { try StateDirectory(creating: directory.file("file")) }
    #expect(throws: StateError.self) { try StateDirectory(creating: directory.file("no/such")) }
  }
}
