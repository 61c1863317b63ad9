import Foundation
import Glibc
import NeedletailSystem
import NeedletailTestSupport
import Testing

@Suite("Files")
struct FileTests {
  private let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  @Test func aFileIsReadUpToItsBound() throws {
    let path = try directory.write([1, 2, 3], to: "a")
    #expect(try WholeFile.read(path, bytesMax: 3) == [1, 2, 3])
    #expect(throws: FileReadError.tooLong(bytesMax: 2)) { try WholeFile.read(path, bytesMax: 2) }
    #expect(try WholeFile.read(directory.write([], to: "b"), bytesMax: 0) == [])
    let long = (0..<20_000).map { UInt8(truncatingIfNeeded: $0) }
    #expect(try WholeFile.read(directory.write(long, to: "c"), bytesMax: 20_000) == long)
  }

  @Test func aPseudoFileIsReadToItsEnd() throws {
    let text = try #require(try WholeFile.text("/proc/self/status", bytesMax: 1 << 16))
    #expect(text.contains("VmRSS"))
  }

  @Test func aFileThatIsNotRegularIsRefusedAtOnce() throws {
    #expect(throws: FileReadError.missing) { try WholeFile.read(directory.file("none"), bytesMax: 9) }
    #expect(throws: FileReadError.notARegularFile) { try WholeFile.read(directory.path, bytesMax: 9) }
    let pipe = directory.file("pipe")
    #expect(mkfifo(pipe, 0o600) == 0)
    #expect(throws: FileReadError.notARegularFile) { try WholeFile.read(pipe, bytesMax: 9) }
    let link = directory.file("link")
    try FileManager.default.createSymbolicLink(
      atPath: link, withDestinationPath: directory.write([7], to: "target"))
    #expect(try WholeFile.read(link, bytesMax: 9) == [7])
    let error = #expect(throws: FileReadError.self) { try WholeFile.read(link, bytesMax: 9, followingLinks: false) }
    #expect(error == .system(SystemError(code: ELOOP, "open \(link)")))
  }

  @Test func piecesCoverTheFileInOrder() throws {
    let bytes = (0..<1000).map { UInt8(truncatingIfNeeded: $0) }
    let file = try FileDescriptor(opening: directory.write(bytes, to: "a"), O_RDONLY)
    var found: [UInt8] = []
    var sizes: [Int] = []
    try file.forEachPiece(ofBytes: 300) { piece in
      found += piece
      sizes.append(piece.count)
      return true
    }
    #expect(found == bytes)
    #expect(sizes == [300, 300, 300, 100])
  }

  @Test func aFileIsReplacedOnlyOnPurpose() throws {
    let path = directory.file("a")
    try AtomicFile.write([1], to: path, existing: .refused)
    let error = #expect(throws: SystemError.self) { try AtomicFile.write([2], to: path, existing: .refused) }
    #expect(error?.code == EEXIST)
    #expect(try WholeFile.read(path, bytesMax: 9) == [1])
    try AtomicFile.write([2], to: path, existing: .replaced)
    #expect(try WholeFile.read(path, bytesMax: 9) == [2])
    #expect(try directory.entries() == ["a"])
  }

  @Test func aFailedWriteLeavesNothingBehind() throws {
    try FileManager.default.createDirectory(atPath: directory.file("taken"), withIntermediateDirectories: false)
    let error = #expect(throws: SystemError.self) {
      try AtomicFile.write([1], to: directory.file("taken"), existing: .replaced)
    }
    #expect(error?.call.hasPrefix("rename ") == true)
    #expect(try directory.entries() == ["taken"])
  }

  @Test func anOldTemporaryFileOfTheSameTargetIsRemovedAndNoOther() throws {
    for name in [".a.tmp-1", ".b.tmp-1"] {
      try directory.write([1], to: name)
      try FileManager.default.setAttributes(
        [.modificationDate: Date(timeIntervalSinceNow: -4000)], ofItemAtPath: directory.file(name))
    }
    try AtomicFile.write([1], to: directory.file("a"), existing: .replaced)
    #expect(try directory.entries() == [".b.tmp-1", "a"])
  }

  @Test func aPipeIsWrittenToAndStaysAPipe() async throws {
    let path = directory.file("pipe")
    #expect(mkfifo(path, 0o600) == 0)
    // It waits for somebody who writes.
    let reading = Task.detached { try NeedletailSystem.FileDescriptor(opening: path, O_RDONLY).readToEnd() }
    try await Task.detached { try AtomicFile.write([1, 2, 3], to: path, existing: .replaced) }.value
    #expect(try await reading.value == [1, 2, 3])
    var status = stat()
    #expect(stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFIFO)
    #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path) == ["pipe"])
  }

  @Test func aNewFileHasItsModeAndIsNeverOverwritten() throws {
    let path = directory.file("key")
    try AtomicFile.create(path, [1], mode: 0o600)
    let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
    #expect(mode == 0o600)
    #expect(throws: SystemError(code: EEXIST, "create \(path)")) { try AtomicFile.create(path, [2], mode: 0o600) }
    #expect(try WholeFile.read(path, bytesMax: 9) == [1])
  }

  @Test func aDirectoryListsItsNamesAndAMissingOneIsNamed() throws {
    for name in ["a", ".b"] { try directory.write([], to: name) }
    var names: Set<String> = []
    try Directory.forEachName(in: directory.path) { names.insert($0).inserted }
    #expect(names == ["a", ".b"])
    let missing = directory.file("none")
    let error = #expect(throws: SystemError.self) { try Directory.forEachName(in: missing) { _ in true } }
    #expect(error?.description == "open directory \(missing): no such file or directory")
    #expect(try Directory.create(missing))
    #expect(try !Directory.create(missing))
  }
}
