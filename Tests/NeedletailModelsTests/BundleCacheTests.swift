import Foundation
import NeedletailBundle
import NeedletailCore
import NeedletailObjectStore
import NeedletailSystem
import NeedletailTestSupport
import Synchronization
import Testing

@testable import NeedletailModels

@Suite("Copies of a remote store's bundles")
struct BundleCacheTests {
  private let directory = try! TemporaryDirectory()
  private let model = try! ModelID("m")

  private func key(_ version: UInt64) -> VersionKey { VersionKey(model, ModelVersion(version)!) }

  private func cache(
    bytesMax: UInt64 = 1 << 20, store: String = "s3://models",
    record: @escaping @Sendable (BundleCache.Outcome) -> Void = { _ in }
  ) throws -> BundleCache {
    try BundleCache(directory.file("cache"), store: store, bytesMax: bytesMax, record: record)
  }

  @discardableResult
  private func add(
    _ cache: BundleCache, _ version: UInt64, tag: String = "tag", bytes: [UInt8] = [1, 2, 3], noted: String? = nil
  ) throws -> BundleFile {
    try cache.add(key(version), tag: tag, bytes: UInt64(bytes.count), limits: BundleLimits()) {
      (file) throws(BundleError) in
      do { try file.write(bytes) } catch { throw BundleError(.io, "\(error)") }
      return noted
    }
  }

  private func stored(_ version: UInt64, tag: String = "tag") -> StoredBundle {
    StoredBundle(key: key(version), place: "", fingerprint: StoreFingerprint(tag), bytes: 3, completeness: .complete)
  }

  @Test func handsOutWhatItWasGivenAndOutlivesItsProcess() throws {
    let outcomes = Mutex<[BundleCache.Outcome]>([])
    try add(cache(), 1, tag: "\"a-2\"/+")
    let again = try cache { outcome in outcomes.withLock { $0.append(outcome) } }
    #expect(again.entries().map(\.tag) == ["\"a-2\"/+"])
    #expect(again.bytes == 3)
    #expect(again.open(key(1), tag: "\"a-2\"/+", limits: BundleLimits())?.bytes == [1, 2, 3])
    #expect(again.open(key(1), tag: "other", limits: BundleLimits()) == nil)
    #expect(again.open(key(2), tag: "\"a-2\"/+", limits: BundleLimits()) == nil)
    #expect(outcomes.withLock { $0 } == [.hit, .miss, .miss])
  }

  @Test func removesACopyWhoseBytesHaveChanged() throws {
    let outcomes = Mutex<[BundleCache.Outcome]>([])
    let cache = try cache { outcome in outcomes.withLock { $0.append(outcome) } }
    try add(cache, 1)
    let path = try #require(cache.entries().first?.path)
    try Data([1, 2, 4]).write(to: URL(fileURLWithPath: path))
    #expect(cache.open(key(1), tag: "tag", limits: BundleLimits()) == nil)
    #expect(cache.entries().isEmpty)
    #expect(outcomes.withLock { $0 } == [.damaged])
  }

  @Test func refusesBytesThatArriveOtherThanThePublisherWroteThem() throws {
    let cache = try cache()
    #expect(throws: BundleError.self) { try add(cache, 1, noted: String(repeating: "0", count: 64)) }
    #expect(cache.entries().isEmpty)
    // SHA-256 of 01 02 03, by sha256sum.
    try add(cache, 1, noted: "039058c6f2c0cb492c533b0a4d14ef77cc0f78abccced5287d84a1a2011cfb81")
    #expect(cache.entries().count == 1)
  }

  @Test func leavesNothingOfADownloadThatFails() throws {
    let cache = try cache()
    #expect(throws: BundleError(.io, "gone")) {
      try cache.add(key(1), tag: "tag", bytes: 3, limits: BundleLimits()) { (_) throws(BundleError) in
        throw BundleError(.io, "gone")
      }
    }
    let left = try FileManager.default.subpathsOfDirectory(atPath: directory.path).filter { $0.contains("download") }
    #expect(left.isEmpty)
  }

  @Test func makesRoomByRemovingWhatWasUsedLongestAgo() throws {
    let cache = try cache(bytesMax: 7)
    try add(cache, 1)
    try add(cache, 2)
    for (entry, age) in zip(cache.entries(), [10.0, 20.0]) {
      try FileManager.default.setAttributes(
        [.modificationDate: Date().addingTimeInterval(-age)], ofItemAtPath: entry.path)
    }
    try add(cache, 3)
    #expect(cache.entries().map(\.key) == [key(1), key(3)])
    // Larger than all of the cache: handed out, not kept.
    #expect(try add(cache, 4, bytes: Array(repeating: 9, count: 8)).count == 8)
    #expect(cache.entries().map(\.key) == [key(1), key(3)])
  }

  @Test func dropsWhatTheStoreHoldsNoMore() throws {
    let cache = try cache()
    try add(cache, 1)
    try add(cache, 2)
    try add(cache, 3, tag: "old")
    try cache.keep(rollout: "serve: 1", of: model)
    cache.prune(keeping: [stored(2), stored(3, tag: "new")], rollouts: [model])
    #expect(cache.entries().map(\.key) == [key(2)])
    #expect(cache.rollouts() == [model: "serve: 1"])
    cache.prune(keeping: [stored(2)], rollouts: [])
    #expect(cache.rollouts().isEmpty)
  }

  @Test func keepsStoresApartAndIgnoresForeignFiles() throws {
    let cache = try cache()
    try add(cache, 1)
    #expect(try self.cache(store: "s3://other").entries().isEmpty)
    let folder = (try #require(cache.entries().first?.path) as NSString).deletingLastPathComponent
    for name in ["1.ntb", "x.y.z.ntb", "1.00.61.ntb", "2.\(String(repeating: "0", count: 64)).6.ntb"] {
      try Data([1]).write(to: URL(fileURLWithPath: folder + "/" + name))
    }
    #expect(cache.entries().map(\.key) == [key(1)])
  }

  @Test func saysWhereNoCacheCanBe() throws {
    try directory.write([], to: "file")
    #expect(throws: BundleError.self) { try BundleCache(directory.file("file"), store: "s", bytesMax: 1) }
    #expect(throws: BundleError.self) { try BundleCache(directory.file("no/such"), store: "s", bytesMax: 1) }
  }
}

@Suite("Listings of buckets")
struct BucketScannerTests {
  private func snapshot(_ paths: [String], bytes: UInt64 = 5, isCut: Bool = false) -> StoreSnapshot {
    var listing = Bucket.Listing()
    listing.objects = paths.map { BucketObject(path: $0, tag: "t", bytes: bytes) }
    listing.isCut = isCut
    return BucketScanner(listing, place: "s3://b", limits: BundleLimits(fileBytesMax: 10)).finish()
  }

  @Test func sortsVersionsByNumberAndSaysWhereTheyLie() {
    let found = snapshot(["m/10.ntb", "m/2.ntb", "a/1.ntb"]).bundles
    #expect(found.map(\.key.description) == ["a version 1", "m version 2", "m version 10"])
    #expect(found[1].place == "s3://b/m/2.ntb")
    #expect(found.allSatisfy { $0.completeness == .complete })
  }

  @Test func ignoresHiddenNamesAndFolders() {
    let found = snapshot([".needletail-conditional-writes", "m/.tmp", ".git/1.ntb", "m/", "m/rollout.yaml"])
    #expect(found.bundles.isEmpty)
    #expect(found.problems.isEmpty)
  }

  @Test(arguments: ["stray.txt", "m/1.onnx", "m/0.ntb", "m/01.ntb", "m/1/2.ntb", "-/1.ntb", "a b/1.ntb"])
  func reportsWhatIsMisplaced(path: String) {
    let found = snapshot([path])
    #expect(found.bundles.isEmpty)
    #expect(found.problems.map(\.path) == [path])
  }

  @Test func refusesWhatIsTooLargeAndSaysThatAListingWasCut() {
    let found = snapshot(["m/1.ntb"], bytes: 11, isCut: true)
    guard case .notABundle(let error) = found.bundles.first?.completeness else {
      Issue.record("expected the object to be refused")
      return
    }
    #expect(error.reason == .oversized)
    #expect(found.problems.first?.reason.contains("the rest is ignored") == true)
  }
}
