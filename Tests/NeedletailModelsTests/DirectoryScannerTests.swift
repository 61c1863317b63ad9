import Foundation
import NeedletailBundle
import NeedletailCore
import NeedletailModels
import NeedletailTestSupport
import Testing

@Suite("Directory scanner")
struct DirectoryScannerTests {
  private func scan(_ store: TemporaryStore) -> StoreSnapshot {
    var scanner = DirectoryScanner(directory: store.path)
    return scanner.scan()
  }

  @Test func findsVersionsByModelAndNumber() throws {
    let store = try TemporaryStore()
    for (model, version) in [("wine", 10), ("wine", 9), ("digits", 1)] as [(String, UInt64)] {
      try store.publish(model, version)
    }
    var scanner = DirectoryScanner(directory: store.path)
    let snapshot = scanner.scan()
    #expect(snapshot.bundles.map(\.key.description) == ["digits version 1", "wine version 9", "wine version 10"])
    #expect(snapshot.bundles.allSatisfy { $0.completeness == .complete })
    #expect(snapshot.bundles.map(\.place).first == store.path("digits", 1))
    #expect(snapshot.problems.isEmpty)
    #expect(scanner.directories == [store.path, store.file("digits"), store.file("wine")])
  }

  @Test func findsNothingInAnEmptyStore() throws {
    let store = try TemporaryStore()
    try store.makeDirectory("wine")
    let snapshot = scan(store)
    #expect(snapshot.bundles.isEmpty && snapshot.problems.isEmpty && snapshot.isReadable)
  }

  @Test(arguments: [
    ("wine/latest.ntb", "expected <version>.ntb with a decimal version from 1, found \"latest.ntb\""),
    ("wine/007.ntb", "expected <version>.ntb with a decimal version from 1, found \"007.ntb\""),
    ("wine/0.ntb", "expected <version>.ntb with a decimal version from 1, found \"0.ntb\""),
    ("wine/1.ntb.bak", "expected <version>.ntb with a decimal version from 1, found \"1.ntb.bak\""),
    ("wine/1.NTB", "expected <version>.ntb with a decimal version from 1, found \"1.NTB\""),
    ("wine/18446744073709551616.ntb", "found \"18446744073709551616.ntb\""),
    ("1.ntb", "expected a directory named after a model, found a file"),
    ("notes.txt", "expected a directory named after a model, found a file"),
    ("two words/1.ntb", "model name: expected letters, digits"),
  ])
  func reportsMisplacedAndMisnamedFiles(place: String, reason: String) throws {
    let store = try TemporaryStore()
    try store.publish("good", 1)
    try store.write([1, 2, 3], to: place)
    let snapshot = scan(store)
    #expect(snapshot.bundles.map(\.key.description) == ["good version 1"])
    #expect(snapshot.problems.count == 1)
    let problem = try #require(snapshot.problems.first)
    #expect(place.hasPrefix(problem.path))
    #expect(problem.reason.contains(reason), "\(problem.reason)")
  }

  /// Latin 1 from an old archive: the name cannot be opened, so it must not pass for an empty store.
  @Test func reportsNamesThatAreNotUTF8() throws {
    let directory = try TemporaryDirectory()
    try FileManager.default.createDirectory(atPath: directory.file("wine"), withIntermediateDirectories: true)
    let bytes = Array(directory.path.utf8) + [UInt8(ascii: "/")]
    for name in ["caf\u{e9}", "wine/1\u{e9}.ntb", ".\u{e9}"] {
      let latin = name.unicodeScalars.map { UInt8($0.value) }
      let path = (bytes + latin + [0]).map { CChar(bitPattern: $0) }
      #expect(mkdir(path, 0o777) == 0)
    }
    var scanner = DirectoryScanner(directory: directory.path)
    let reason = "expected a name in UTF-8, found other bytes"
    let problems = scanner.scan().problems
    #expect(problems.contains(StoreProblem(path: "caf\\xe9", reason: reason)))
    #expect(problems.contains(StoreProblem(path: "wine/1\\xe9.ntb", reason: reason)))
    #expect(problems.count == 2, "\(problems)")
  }

  @Test func reportsDirectoriesWhereBundlesAreExpected() throws {
    let store = try TemporaryStore()
    try store.makeDirectory("wine/1.ntb")
    try store.makeDirectory("wine/old")
    #expect(
      scan(store).problems == [
        StoreProblem(path: "wine/1.ntb", reason: "expected a bundle, found a directory"),
        StoreProblem(path: "wine/old", reason: "expected a bundle, found a directory"),
      ])
  }

  @Test func temporaryFilesAndCompanionsAreSkippedSilently() throws {
    let store = try TemporaryStore()
    try store.publish("wine", 1)
    for place in ["wine/.2.ntb.tmp-x1y2", "wine/.3.ntb.Ab12Cd", ".trash/1.ntb", "lost+found/x"] {
      try store.write([0], to: place)
    }
    try store.write(Array("keep: 1".utf8), to: "wine/rollout.yaml")
    let snapshot = scan(store)
    #expect(snapshot.bundles.count == 1)
    #expect(snapshot.problems.isEmpty)
  }

  @Test func followsLinksLikeThoseOfKubernetesVolumes() throws {
    let store = try TemporaryStore()
    try store.write(TemporaryStore.line("wine", 1, weight: 1), to: "wine/..2026_a/1.ntb")
    try store.link("wine/..data", to: "..2026_a")
    try store.link("wine/1.ntb", to: "..data/1.ntb")
    var scanner = DirectoryScanner(directory: store.path)
    let before = scanner.scan()
    #expect(before.bundles.map(\.completeness) == [.complete])
    #expect(before.problems.isEmpty)
    try store.write(TemporaryStore.line("wine", 1, weight: 2), to: "wine/..2026_b/1.ntb")
    try store.link("wine/..tmp", to: "..2026_b")
    try store.rename("wine/..tmp", to: "wine/..data")
    let after = scanner.scan()
    #expect(after.bundles.map(\.key) == before.bundles.map(\.key))
    #expect(after.bundles.map(\.fingerprint) != before.bundles.map(\.fingerprint))
  }

  @Test func followsALinkToAWholeModel() throws {
    let store = try TemporaryStore()
    try store.publish("wine", 1)
    try store.link("alias", to: "wine")
    #expect(scan(store).bundles.map(\.key.description) == ["alias version 1", "wine version 1"])
  }

  @Test func reportsLinksThatLeadNowhere() throws {
    let store = try TemporaryStore()
    try store.makeDirectory("wine")
    try store.link("wine/1.ntb", to: "nothing")
    try store.link("wine/2.ntb", to: "2.ntb")
    try store.link("gone", to: "nothing")
    let snapshot = scan(store)
    #expect(
      snapshot.problems == [
        StoreProblem(path: "gone", reason: "not found"), StoreProblem(path: "wine/1.ntb", reason: "not found"),
        StoreProblem(path: "wine/2.ntb", reason: "symbolic links in a circle"),
      ])
    #expect(snapshot.unreadableModels.map(\.name) == ["gone"])
  }

  @Test func seesAFileGrowUntilItIsComplete() throws {
    let store = try TemporaryStore()
    let bytes = try TemporaryStore.line("wine", 1, weight: 1)
    var scanner = DirectoryScanner(directory: store.path)
    try store.write(bytes.prefix(10), to: "wine/1.ntb")
    #expect(scanner.scan().bundles.map(\.completeness) == [.incomplete(found: 10, expected: 64)])
    try store.append(bytes[10..<200], to: "wine/1.ntb")
    #expect(scanner.scan().bundles.map(\.completeness) == [.incomplete(found: 200, expected: UInt64(bytes.count))])
    try store.append(bytes[200...], to: "wine/1.ntb")
    #expect(scanner.scan().bundles.map(\.completeness) == [.complete])
    try store.append([0], to: "wine/1.ntb")
    #expect(
      scanner.scan().bundles.map(\.completeness) == [
        .incomplete(found: UInt64(bytes.count + 1), expected: UInt64(bytes.count))
      ])
  }

  @Test func filesThatAreNoBundlesAreRecognisedByTheirHeader() throws {
    let store = try TemporaryStore()
    try store.write(Array(repeating: 65, count: 1000), to: "wine/1.ntb")
    let completeness = try #require(scan(store).bundles.first?.completeness)
    guard case .notABundle(let error) = completeness else {
      Issue.record("expected no bundle, found \(completeness)")
      return
    }
    #expect(error.reason == .badMagic)
  }

  @Test func reportsAStoreThatIsMissingOrNoDirectory() throws {
    let store = try TemporaryStore()
    var missing = DirectoryScanner(directory: store.file("nowhere"))
    let snapshot = missing.scan()
    #expect(!snapshot.isReadable)
    #expect(snapshot.problems == [StoreProblem(path: "", reason: "store directory: not found")])
    try store.write([0], to: "file")
    var file = DirectoryScanner(directory: store.file("file"))
    #expect(file.scan().problems == [StoreProblem(path: "", reason: "store directory: not a directory")])
  }

  @Test(.enabled(if: geteuid() != 0, "the superuser reads everything"))
  func reportsAModelDirectoryThatCannotBeRead() throws {
    let store = try TemporaryStore()
    try store.publish("wine", 1)
    chmod(store.file("wine"), 0)
    defer { chmod(store.file("wine"), 0o755) }
    let snapshot = scan(store)
    #expect(snapshot.unreadableModels.map(\.name) == ["wine"])
    #expect(snapshot.problems == [StoreProblem(path: "wine", reason: "model directory: permission denied")])
  }

  @Test func problemsBeyondTheBoundAreCountedNotNamed() throws {
    let store = try TemporaryStore()
    for index in 0..<(Limits.storeProblemsMax + 5) { try store.write([], to: "wine/x\(index)") }
    let problems = scan(store).problems
    #expect(problems.count == Limits.storeProblemsMax + 1)
    #expect(problems.last?.reason == "5 more files are misplaced or misnamed")
  }
}
