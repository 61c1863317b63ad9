import Foundation
import NeedletailBundle
import NeedletailCore
import NeedletailTestSupport
import Testing

@Suite("Publishing")
struct PublishTests {
  private let store: TemporaryDirectory
  private let model: ModelID

  init() throws {
    store = try TemporaryDirectory()
    model = try ModelID(BundleFixtures.modelName)
  }

  private func publish(_ version: UInt64, replace: Bool = false, seed: UInt64 = 1) throws -> String {
    let contents = BundleFixtures.contents(BundleFixtures.classifier(seed: seed))
    return try Publisher.publish(
      BundleFixtures.bundle(version: version, contents), model: model, version: ModelVersion(version)!,
      store: store.path, replace: replace)
  }

  @Test func aPublishedFileIsWholeUnderItsName() throws {
    let path = try publish(1)
    #expect(path == store.file("wine/1.ntb"))
    #expect(try store.entries(of: "wine") == ["1.ntb"])
    #expect(BundleFile.isComplete(path: path) == .complete)
    #expect(
      try VerifiedBundle(
        BundleFile.open(path: path), trust: BundleFixtures.trust, expecting: (model, ModelVersion(1)!),
        nowMilliseconds: 0
      ).decode() == BundleFixtures.contents())
  }

  @Test func aPublishedVersionIsNeverChanged() throws {
    let path = try publish(1)
    let before = try Data(contentsOf: URL(fileURLWithPath: path))
    let error = #expect(throws: BundleError.self) { try publish(1, seed: 2) }
    #expect(error?.reason == .exists)
    #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == before)
    #expect(try store.entries(of: "wine") == ["1.ntb"])
  }

  @Test func replacingIsPossibleOnPurpose() throws {
    let path = try publish(1)
    let before = try Data(contentsOf: URL(fileURLWithPath: path))
    _ = try publish(1, replace: true, seed: 2)
    #expect(try Data(contentsOf: URL(fileURLWithPath: path)) != before)
    #expect(try store.entries(of: "wine") == ["1.ntb"])
  }

  @Test func aFailedPublishLeavesNothingBehind() throws {
    // A directory stands where the file should go.
    try FileManager.default.createDirectory(atPath: store.file("wine/1.ntb"), withIntermediateDirectories: true)
    let error = #expect(throws: BundleError.self) { try publish(1, replace: true) }
    #expect(error?.reason == .io)
    #expect(error?.message.contains("rename") == true)
    #expect(try store.entries(of: "wine") == ["1.ntb"])
  }

  /// A temporary file as a publisher that was killed leaves it, last written to so long ago.
  private func leave(_ name: String, secondsAgo: TimeInterval) throws {
    try store.write([1], to: "wine/\(name)")
    try FileManager.default.setAttributes(
      [.modificationDate: Date(timeIntervalSinceNow: -secondsAgo)], ofItemAtPath: store.file("wine/\(name)"))
  }

  @Test func filesOfKilledPublishersAreRemovedByTheNextPublish() throws {
    _ = try publish(1)
    try leave(".2.ntb.tmp-1x8", secondsAgo: 4000)
    try leave(".rollout.yaml.tmp-abc", secondsAgo: 4000)
    try leave(".3.ntb.tmp-young", secondsAgo: 3000)
    _ = try publish(2)
    #expect(try store.entries(of: "wine") == [".3.ntb.tmp-young", "1.ntb", "2.ntb"])
  }

  @Test func aFileThatIsStillWrittenIsNotRemovedHoweverOldItIs() throws {
    _ = try publish(1)
    try leave(".2.ntb.tmp-slow", secondsAgo: 100_000)
    let writer = open(store.file("wine/.2.ntb.tmp-slow"), O_WRONLY)
    #expect(flock(writer, LOCK_EX) == 0)
    _ = try publish(2)
    #expect(try store.entries(of: "wine") == [".2.ntb.tmp-slow", "1.ntb", "2.ntb"])
    close(writer)
    _ = try publish(3)
    #expect(try store.entries(of: "wine") == ["1.ntb", "2.ntb", "3.ntb"])
  }

  @Test func onlyFilesWithNamesOfPublishersAreRemoved() throws {
    _ = try publish(1)
    let others = [
      ".2.ntb.tmp-", ".2.ntb.tmp-A", ".notes.tmp-1", ".ntb.tmp", "2.ntb.tmp-1", ".2.ntb.tmp-1.bak", ".tmp-1",
    ]
    for name in others { try leave(name, secondsAgo: 4000) }
    let target = try store.write([1], to: "target")
    try FileManager.default.setAttributes([.modificationDate: Date(timeIntervalSinceNow: -4000)], ofItemAtPath: target)
    try FileManager.default.createSymbolicLink(atPath: store.file("wine/.4.ntb.tmp-1"), withDestinationPath: target)
    _ = try publish(2)
    #expect(try store.entries(of: "wine") == (others + [".4.ntb.tmp-1", "1.ntb", "2.ntb"]).sorted())
    #expect(FileManager.default.fileExists(atPath: target))
  }

  @Test func aMissingStoreIsNamed() throws {
    let error = #expect(throws: BundleError.self) {
      try Publisher.publish(
        BundleFixtures.bundle(), model: model, version: ModelVersion(1)!, store: store.file("nowhere"))
    }
    #expect(error?.reason == .io)
    #expect(error?.message.contains("nowhere/wine: no such file or directory") == true)
  }

  @Test func aBundleOfAnotherNameIsNotPublished() throws {
    let error = #expect(throws: BundleError.self) {
      try Publisher.publish(BundleFixtures.bundle(), model: model, version: ModelVersion(2)!, store: store.path)
    }
    #expect(error?.reason == .wrongName)
    #expect(try store.entries().isEmpty)
  }

  @Test func theNextVersionFollowsTheHighest() throws {
    #expect(try Publisher.nextVersion(of: model, store: store.path).number == 1)
    _ = try publish(9)
    _ = try publish(10)
    for name in ["wine/011.ntb", "wine/.99.ntb.tmp-1", "wine/12.txt", "wine/rollout.yaml"] {
      try store.write([], to: name)
    }
    #expect(try Publisher.nextVersion(of: model, store: store.path).number == 11)
    try store.write([], to: "wine/\(UInt64.max).ntb")
    #expect(throws: BundleError.self) { try Publisher.nextVersion(of: model, store: store.path) }
  }
}

@Suite("Files that are still being written")
struct CompletenessTests {
  @Test func aFileIsIncompleteUntilItsLastByte() throws {
    let directory = try TemporaryDirectory()
    let bytes = try BundleFixtures.bundle()
    let whole = UInt64(bytes.count)
    for (length, expected) in [(0, 64), (7, 64), (63, 64), (64, whole), (bytes.count - 1, whole)] {
      let path = try directory.write(Array(bytes[..<length]), to: "1.ntb")
      #expect(BundleFile.isComplete(path: path) == .incomplete(found: UInt64(length), expected: expected))
    }
    let path = try directory.write(bytes + [0], to: "1.ntb")
    #expect(BundleFile.isComplete(path: path) == .incomplete(found: whole + 1, expected: whole))
    #expect(BundleFile.isComplete(path: try directory.write(bytes, to: "1.ntb")) == .complete)
  }

  @Test func aFileThatIsNoBundleIsRefusedWithItsReason() throws {
    let directory = try TemporaryDirectory()
    func reason(_ path: String) -> BundleError.Reason? {
      guard case .notABundle(let error) = BundleFile.isComplete(path: path) else { return nil }
      return error.reason
    }
    #expect(reason(try directory.write(Array("hello".utf8), to: "1.ntb")) == .badMagic)
    #expect(reason(directory.file("2.ntb")) == .io)
    #expect(reason(directory.path) == .io)
    let pipe = directory.file("pipe")
    #expect(mkfifo(pipe, 0o600) == 0)
    #expect(reason(pipe) == .io)
    #expect(throws: BundleError.self) { try BundleFile.open(path: pipe) }
  }
}

@Suite("Key files")
struct KeyFileTests {
  private let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  @Test func aKeyIsReadBackEqual() throws {
    let key = SigningKey()
    try key.write(to: directory.file("a.key"))
    try key.publicKey.write(to: directory.file("a.pub"))
    let found = try SigningKey(file: directory.file("a.key"))
    #expect(found.publicKey == key.publicKey)
    #expect(try PublicKey(file: directory.file("a.pub")) == key.publicKey)
    #expect(try PublicKey(text: "\(key.publicKey)") == key.publicKey)
    #expect(key.publicKey.keyID.count == 16)
    #expect(SigningKey().publicKey != key.publicKey)
  }

  @Test func aPrivateKeyFileIsReadableByItsOwnerOnly() throws {
    let path = directory.file("a.key")
    try SigningKey().write(to: path)
    let mode = try #require(try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int)
    #expect(mode == 0o600)
    try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: path)
    let error = #expect(throws: BundleError.self) { try SigningKey(file: path) }
    #expect(error?.message.contains("expected mode 600, found 644") == true)
  }

  @Test func aKeyIsNeverOverwritten() throws {
    let path = directory.file("a.key")
    let key = SigningKey()
    try key.write(to: path)
    let error = #expect(throws: BundleError.self) { try SigningKey().write(to: path) }
    #expect(error?.reason == .exists)
    #expect(try SigningKey(file: path).publicKey == key.publicKey)
  }

  @Test(arguments: ["", "# nothing\n", "ed25519:AAAA", "ed25519-private:AAAA", "ed25519-private:!"])
  func textThatIsNoKeyIsRefusedWithoutQuotingIt(text: String) throws {
    let path = try directory.write(Array(text.utf8), to: "a.key")
    try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: path)
    let error = #expect(throws: BundleError.self) { try SigningKey(file: path) }
    #expect(error?.reason == .badKey)
    #expect(error?.message.contains("AAAA") == false)
  }
}
