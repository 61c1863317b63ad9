import NeedletailBundle
import NeedletailCore
import NeedletailModels
import Testing

@Suite("Reconciler: the life of a version")
struct ReconcilerTests {
  @Test func leadsAFileThroughEveryStateUntilItIsLive() {
    var driver = ReconcilerDriver()
    driver.put(1)
    var actions = driver.scan()
    #expect(actions.states == [.verifying])
    #expect(actions.loads.map(\.bundle.place) == ["/store/m/1.ntb"])
    #expect(!driver.reconciler.isIdle && !driver.reconciler.isSettled)
    driver.advance(milliseconds: 5)
    actions = driver.succeed(1)
    #expect(actions.states == [.loading, .checking, .warming, .live])
    #expect(actions.suffix(3).first == .publish, "the table is out before anybody hears of it")
    #expect(
      actions.last == .tell(.swapped(ReconcilerDriver.key(1).model, from: nil, to: ReconcilerDriver.key(1).version)))
    #expect(driver.serving() == 1)
    #expect(driver.reconciler.isIdle && driver.reconciler.isSettled)
    let version = driver.version(1)
    #expect(version?.digest == "digest-1" && version?.signer == "release" && version?.residentBytes == 10)
    #expect(version?.sinceMilliseconds == 1_005)
  }

  @Test func doesNothingWhenNothingChanged() {
    var driver = ReconcilerDriver.live(1...1)
    driver.advance(milliseconds: 60_000)
    #expect(driver.scan().isEmpty)
    driver.put(2)
    _ = driver.scan()
    _ = driver.refuse(2)
    #expect(driver.scan().isEmpty)
  }

  @Test func loadsOneAtATimeWhatHasNothingToServeFirst() {
    var driver = ReconcilerDriver(keep: 1)
    driver.put(1, "b")
    driver.put(2, "b")
    driver.put(7, "c")
    driver.put(1, "a")
    driver.put(2, "a")
    var order: [String] = []
    var actions = driver.scan()
    while let load = actions.loads.first {
      #expect(actions.loads.count == 1)
      order.append("\(load.key.model)\(load.key.version)")
      actions = driver.succeed(load.key.version.number, load.key.model.name)
    }
    #expect(order == ["a2", "b2", "c7", "a1", "b1"])
  }

  @Test func aModelPublishedToWithoutPauseDoesNotKeepOthersFromLoading() {
    var driver = ReconcilerDriver(keep: 1)
    for model in ["a", "b", "c"] { driver.put(1, model) }
    var actions = driver.scan()
    while let load = actions.loads.first { actions = driver.succeed(load.key.version.number, load.key.model.name) }
    for model in ["a", "b", "c"] { driver.put(2, model) }
    actions = driver.scan()
    var order: [String] = []
    for version in UInt64(3)...8 {
      guard let load = actions.loads.first else { break }
      order.append("\(load.key.model)\(load.key.version)")
      // While one loads, the first two are published to again.
      driver.put(version, "a")
      driver.put(version, "b")
      _ = driver.scan()
      actions = driver.succeed(load.key.version.number, load.key.model.name)
    }
    #expect(order == ["a2", "b3", "c2", "a5", "b6", "a7"])
  }

  @Test func fallsBackToTheNextLowerVersionAtStart() {
    var driver = ReconcilerDriver()
    for version in 1...4 { driver.put(UInt64(version)) }
    #expect(driver.scan().loads.map(\.key.version.number) == [4])
    #expect(driver.refuse(4).loads.map(\.key.version.number) == [3])
    #expect(driver.succeed(3).loads.map(\.key.version.number) == [2])
    #expect(driver.succeed(2).loads.isEmpty)
    #expect(driver.serving() == 3)
    #expect(driver.state(4) == .rejected)
    #expect(driver.state(1) == .retired)
    #expect(driver.version(1)?.reason == "not loaded: a newer version is preferred")
  }

  // MARK: swapping

  @Test func servesTheOldVersionUntilTheNewOneIsLiveAndKeepsItAfter() {
    var driver = ReconcilerDriver.live(1...1, keep: 1)
    driver.put(2)
    _ = driver.scan()
    #expect(driver.serving() == 1)
    let actions = driver.succeed(2)
    #expect(
      actions.contains(.tell(.swapped(ReconcilerDriver.key(1).model, from: ModelVersion(1), to: ModelVersion(2)!))))
    #expect(driver.serving() == 2)
    #expect(driver.state(1) == .live)
    #expect(driver.reconciler.table.first?.live.map(\.number) == [2, 1])
  }

  @Test func retiresWhatIsNotKeptAndWaitsForItsMemory() {
    var driver = ReconcilerDriver.live(1...3, keep: 1)
    #expect(driver.state(1) == .retiring)
    #expect(driver.version(1)?.residentBytes == 10)
    #expect(driver.reconciler.table.first?.live.map(\.number) == [3, 2])
    let actions = driver.reconciler.released(ReconcilerDriver.key(1), now: driver.now)
    #expect(actions.states == [.retired])
    #expect(driver.version(1)?.residentBytes == 0)
    #expect(driver.scan().isEmpty, "what was retired stays so")
  }

  @Test func retiresAfterPublishingAndReleasesLast() throws {
    var driver = ReconcilerDriver.live(1...1, keep: 0)
    driver.put(2)
    _ = driver.scan()
    let actions = driver.succeed(2)
    let publish = try #require(actions.firstIndex(of: .publish))
    let release = try #require(actions.firstIndex(of: .release(ReconcilerDriver.key(1))))
    #expect(publish < release)
    #expect(actions.states == [.loading, .checking, .warming, .retiring, .live])
  }

  @Test func doesNotLoadALowerVersionThatIsDroppedLater() {
    var driver = ReconcilerDriver.live(5...5, keep: 1)
    driver.put(3)
    let actions = driver.scan()
    #expect(actions.loads.isEmpty)
    #expect(actions.states == [.retired])
    #expect(driver.serving() == 5)
  }

  @Test func skipsVersionsThatWereOvertakenBeforeTheyWereLoaded() {
    var driver = ReconcilerDriver.live(4...4, keep: 1)
    driver.put(5)
    #expect(driver.scan().loads.map(\.key.version.number) == [5])
    driver.put(6)
    driver.put(7)
    _ = driver.scan()
    #expect(driver.succeed(5).loads.map(\.key.version.number) == [7])
    #expect(driver.succeed(7).loads.isEmpty)
    #expect(driver.serving() == 7)
    #expect(driver.state(6) == .retired)
    #expect(driver.state(5) == .live)
    #expect(driver.state(4) == .retiring)
  }

  @Test func remembersBeforeItPublishesAndTellsBeforeItReleases() {
    var driver = ReconcilerDriver.live(1...1, keep: 0)
    driver.put(2)
    _ = driver.scan()
    #expect(driver.succeed(2).steps == ["tell", "remember", "publish", "tell", "release"], "the first is on its way")
    driver = ReconcilerDriver.live(1...2, keep: 1)
    let actions = driver.reconciler.quarantine(
      ReconcilerDriver.key(2), cause: .guardNaN, reason: "nan_rate", now: driver.now)
    #expect(actions?.steps == ["remember", "publish", "tell"])
    #expect(driver.serving() == 1)
  }

  // MARK: refusals

  @Test func aRejectedVersionChangesNothingForTheServingOne() {
    var driver = ReconcilerDriver.live(1...1)
    driver.put(2)
    _ = driver.scan()
    let actions = driver.refuse(2, label: "untrusted")
    #expect(actions.states == [.rejected])
    #expect(actions.reasons == ["refused: untrusted"])
    #expect(actions.rejections == ["untrusted"])
    #expect(driver.reconciler.table.first?.live.map(\.number) == [1])
    #expect(driver.serving() == 1)
  }

  @Test func triesARejectedFileAgainWhenItChanges() {
    var driver = ReconcilerDriver()
    driver.put(1)
    _ = driver.scan()
    _ = driver.refuse(1)
    #expect(driver.scan().loads.isEmpty)
    driver.put(1)
    #expect(driver.scan().loads.count == 1)
    _ = driver.succeed(1)
    #expect(driver.serving() == 1)
  }

  @Test func triesARejectedFileAgainWhenTrustChanges() {
    var driver = ReconcilerDriver()
    driver.put(1)
    _ = driver.scan()
    _ = driver.refuse(1, label: "untrusted")
    #expect(driver.trustChanged().loads.count == 1)
  }

  @Test func aResultUnderOldTrustIsDiscarded() {
    var driver = ReconcilerDriver()
    driver.put(1)
    _ = driver.scan()
    _ = driver.trustChanged()
    let actions = driver.refuse(1, label: "untrusted")
    #expect(actions.rejections.isEmpty)
    #expect(actions.loads.count == 1)
  }

  @Test func aResultForBytesThatWereReplacedIsDiscarded() {
    var driver = ReconcilerDriver()
    driver.put(1)
    _ = driver.scan()
    driver.put(1)
    #expect(driver.scan().isEmpty, "one at a time")
    let actions = driver.refuse(1)
    #expect(actions.rejections.isEmpty)
    #expect(actions.loads.count == 1)
  }

  @Test func retriesATransientFaultWithGrowingPauses() {
    var driver = ReconcilerDriver()
    driver.put(1)
    _ = driver.scan()
    for pauseMilliseconds in [1000, 2000, 4000] as [UInt64] {
      _ = driver.refuse(1, label: "io", isTransient: true)
      driver.advance(milliseconds: pauseMilliseconds - 1)
      #expect(driver.scan().loads.isEmpty, "after \(pauseMilliseconds - 1) ms")
      driver.advance(milliseconds: 1)
      #expect(driver.scan().loads.count == 1, "after \(pauseMilliseconds) ms")
    }
    for _ in 0..<20 {
      _ = driver.refuse(1, label: "io", isTransient: true)
      driver.advance(milliseconds: 60_000)
      #expect(driver.scan().loads.count == 1, "never longer than a minute")
    }
  }

  @Test func retriesAModelThatLackedMemoryAsSoonAsSomeIsFree() {
    var driver = ReconcilerDriver.live(1...1, keep: 0)
    driver.put(2)
    driver.settle()
    driver.put(3)
    _ = driver.scan()
    _ = driver.refuse(3, label: Rejection.memoryLabel, isTransient: true)
    #expect(driver.scan().loads.isEmpty)
    let actions = driver.reconciler.released(ReconcilerDriver.key(1), now: driver.now)
    #expect(actions.loads.map(\.key.version.number) == [3])
  }

  @Test func aTransientFaultDoesNotRejectTheFileOfALiveVersion() {
    var driver = ReconcilerDriver.live(1...1)
    driver.put(1)
    _ = driver.scan()
    let actions = driver.inspect(1, .rejected(Rejection(label: "io", message: "read", isTransient: true)))
    #expect(actions.isEmpty)
    #expect(driver.version(1)?.reason == "")
    driver.advance(milliseconds: 1000)
    #expect(driver.scan().inspections.count == 1)
  }

  @Test func refusesWhatIsNoBundleWithoutLoadingIt() {
    var driver = ReconcilerDriver()
    driver.put(1, "m", .notABundle(BundleError(.badMagic, "magic: expected a bundle's")))
    let actions = driver.scan()
    #expect(actions.rejections == ["bad_magic"])
    #expect(actions.states == [.rejected])
    #expect(driver.scan().isEmpty)
    #expect(driver.reconciler.isSettled, "there is nothing left to do")
  }

  // MARK: readiness and the table

  @Test func isNotSettledBeforeTheFirstScanAndStaysSettledAfter() {
    var driver = ReconcilerDriver()
    #expect(!driver.reconciler.isSettled)
    _ = driver.scan()
    #expect(driver.reconciler.isSettled)
    driver.put(1, "new")
    _ = driver.scan()
    #expect(driver.reconciler.isSettled)
  }

  @Test func requestsForAModelThatStillLoadsAreUnavailable() {
    var driver = ReconcilerDriver()
    driver.put(1)
    _ = driver.scan()
    #expect(driver.reconciler.table.first?.awaited.map(\.number) == [1])
    _ = driver.refuse(1)
    #expect(driver.reconciler.table.first?.awaited == [])
    #expect(driver.reconciler.table.first?.serving == nil)
  }

  @Test func ignoresReportsOnWhatIsNotBeingLoaded() {
    var driver = ReconcilerDriver.live(1...1)
    #expect(driver.succeed(1).isEmpty)
    #expect(driver.refuse(9).isEmpty)
    #expect(driver.reconciler.released(ReconcilerDriver.key(9), now: driver.now).isEmpty)
  }
}
