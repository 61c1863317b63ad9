import NeedletailBundle
import NeedletailCore
import NeedletailModels
import Testing

@Suite("Reconciler: files that grow, go or are replaced")
struct ReconcilerFileTests {
  // MARK: files that grow

  @Test func waitsForAGrowingFileWithoutAnError() {
    var driver = ReconcilerDriver()
    driver.put(1, "m", .incomplete(found: 10, expected: 90))
    var actions = driver.scan()
    #expect(actions.states == [.incomplete])
    #expect(actions.loads.isEmpty)
    #expect(driver.version(1)?.reason == "found 10 of 90 bytes")
    driver.put(1, "m", .incomplete(found: 50, expected: 90))
    actions = driver.scan()
    #expect(actions.states.isEmpty, "growth is no news")
    #expect(driver.version(1)?.reason == "found 50 of 90 bytes")
    driver.put(1)
    actions = driver.scan()
    #expect(actions.states == [.verifying])
    #expect(actions.loads.count == 1)
    #expect(actions.rejections.isEmpty)
  }

  @Test func anIncompleteFileIsNothingToWaitForBeforeTheFirstScanIsDealtWith() {
    var driver = ReconcilerDriver()
    driver.put(1, "m", .incomplete(found: 10, expected: 90))
    _ = driver.scan()
    #expect(driver.reconciler.isSettled)
  }

  @Test func saysOnceWhenAFileStoppedGrowing() {
    var driver = ReconcilerDriver()
    driver.put(1, "m", .incomplete(found: 10, expected: 90))
    _ = driver.scan()
    driver.advance(milliseconds: 59_000)
    #expect(driver.scan().isEmpty)
    driver.advance(milliseconds: 1_000)
    #expect(driver.scan().reasons == ["found 10 of 90 bytes, not growing for 60 s"])
    driver.advance(milliseconds: 60_000)
    #expect(driver.scan().isEmpty)
  }

  @Test func waitsForTheNextScanWhenAFileChangedUnderTheReader() {
    var driver = ReconcilerDriver()
    driver.put(1)
    _ = driver.scan()
    let actions = driver.reconciler.loaded(ReconcilerDriver.key(1), .changed, now: driver.now)
    #expect(actions.loads.isEmpty && actions.rejections.isEmpty)
    #expect(driver.scan().loads.count == 1)
  }

  @Test func triesAtOnceWhenTheScanHasShownTheChangeAlready() {
    var driver = ReconcilerDriver()
    driver.put(1)
    _ = driver.scan()
    driver.put(1)
    _ = driver.scan()
    #expect(driver.reconciler.loaded(ReconcilerDriver.key(1), .changed, now: driver.now).loads.count == 1)
    _ = driver.succeed(1)
    driver.put(1)
    _ = driver.scan()
    driver.put(1)
    _ = driver.scan()
    #expect(driver.inspect(1, .changed).inspections.count == 1)
  }

  // MARK: files that go or are replaced

  @Test func servesOnWhenTheFileOfALiveVersionIsRemovedAndSaysSo() {
    var driver = ReconcilerDriver.live(1...1)
    driver.take(1)
    let actions = driver.scan()
    #expect(actions.reasons == ["file removed from the store; still serving"])
    #expect(driver.serving() == 1)
    #expect(driver.scan().isEmpty)
    driver.put(1)
    #expect(driver.scan().inspections.count == 1)
    #expect(driver.inspect(1, .verified(digest: "digest-1")).reasons == [""])
  }

  @Test func forgetsOtherVersionsWithTheirFiles() {
    var driver = ReconcilerDriver.live(1...1)
    driver.put(2)
    _ = driver.scan()
    _ = driver.refuse(2)
    driver.put(3, "m", .incomplete(found: 1, expected: 9))
    _ = driver.scan()
    driver.take(2)
    driver.take(3)
    #expect(driver.scan().isEmpty)
    #expect(driver.reconciler.status.model("m")?.versions.map(\.version.number) == [1])
  }

  @Test func dropsAVersionThatWasTakenAwayWhileItLoaded() {
    var driver = ReconcilerDriver()
    driver.put(1)
    _ = driver.scan()
    driver.take(1)
    _ = driver.scan()
    let actions = driver.succeed(1)
    #expect(actions.releases == [1])
    #expect(driver.reconciler.status.models.isEmpty)
  }

  @Test func refusesToReplaceAVersionThatIsLive() {
    var driver = ReconcilerDriver.live(1...1)
    driver.put(1)
    #expect(driver.scan().inspections.count == 1)
    let actions = driver.inspect(1, .verified(digest: "another"))
    #expect(actions.rejections == ["replaced"])
    #expect(
      actions.reasons == [
        "file replaced by another bundle: expected digest digest-1, found another; "
          + "a version is immutable, publish under a new number"
      ])
    #expect(driver.serving() == 1)
    #expect(driver.version(1)?.digest == "digest-1")
    #expect(driver.scan().isEmpty)
  }

  @Test func acceptsTheSameBundleInAnotherFile() {
    var driver = ReconcilerDriver.live(1...1)
    driver.put(1)
    _ = driver.scan()
    #expect(driver.inspect(1, .verified(digest: "digest-1")).isEmpty)
    #expect(driver.scan().isEmpty)
  }

  @Test func servesOnWhenTheFileOfALiveVersionIsSpoiled() {
    var driver = ReconcilerDriver.live(1...1)
    driver.put(1)
    _ = driver.scan()
    let actions = driver.inspect(1, .rejected(Rejection(label: "bad_hash", message: "hash of weights")))
    #expect(actions.rejections == ["bad_hash"])
    #expect(actions.reasons == ["file in the store refused: hash of weights; still serving"])
    driver.put(1, "m", .notABundle(BundleError(.badMagic, "magic")))
    #expect(driver.scan().reasons == ["file in the store refused: magic; still serving"])
    #expect(driver.scan().isEmpty)
    #expect(driver.serving() == 1)
  }
}
