import NeedletailBundle
import NeedletailCore
import NeedletailModels
import Testing

@Suite("Reconciler: rollout files, undo and retiring")
struct ReconcilerRolloutTests {
  private let model = ReconcilerDriver.key(1).model
  private let invalid = RolloutFinding.invalid("rollout.yaml:1: expected a known key, found \"srve\"")

  private func rollout(_ driver: ReconcilerDriver) -> RolloutStatus? { driver.reconciler.status.model("m")?.rollout }

  // MARK: rollback protection

  /// Loads as a server does: what the ledger refuses is rejected, what it lets pass is accepted. Every bundle is signed.
  private func settle(_ driver: inout ReconcilerDriver, _ ledger: inout AcceptanceLedger) -> [UInt64] {
    var rejected: [UInt64] = []
    var actions = driver.scan()
    while let load = actions.loads.first {
      let version = load.key.version.number
      let digest = "digest-\(version)"
      if ledger.refusal(of: load.key, digest: digest, keyID: "k", isLate: load.isLate) != nil {
        rejected.append(version)
        actions = driver.refuse(version, label: "rollback")
      } else {
        _ = ledger.accept(load.key, digest: digest, keyID: "k")
        actions = driver.succeed(version)
      }
    }
    return rejected
  }

  /// Start with 4, accept 6, undo to 4; then somebody drops 5, signed long ago and never accepted here.
  @Test func anOldVersionDroppedAfterAnUndoIsRefused() throws {
    var driver = ReconcilerDriver(keep: 1)
    var ledger = AcceptanceLedger(keep: 1)
    driver.put(4)
    #expect(settle(&driver, &ledger) == [])
    driver.put(6)
    #expect(settle(&driver, &ledger) == [])
    _ = try driver.reconciler.undo(model, now: driver.now)
    #expect(driver.serving() == 4)
    driver.put(5)
    #expect(settle(&driver, &ledger) == [5])
    #expect(driver.serving() == 4)
    #expect(driver.state(5) == .rejected)
    // Also after a restart, and a newer one is none of this.
    driver.restart()
    ledger = AcceptanceLedger(ledger.accepted, keep: 1)
    #expect(settle(&driver, &ledger) == [5])
    #expect(driver.serving() == 4)
    driver.put(7)
    #expect(settle(&driver, &ledger) == [])
    #expect(driver.serving() == 7)
  }

  /// The number was there at the start, with other bytes under it.
  @Test func anOldVersionPutUnderANumberThatWasThereBeforeIsRefused() throws {
    var driver = ReconcilerDriver(keep: 1)
    var ledger = AcceptanceLedger(keep: 1)
    driver.put(4)
    driver.put(5, "m", .notABundle(BundleError(.badMagic, "magic")))
    driver.put(6)
    _ = settle(&driver, &ledger)
    #expect(driver.serving() == 6)
    _ = try driver.reconciler.undo(model, now: driver.now)
    driver.put(5)
    #expect(settle(&driver, &ledger) == [5])
    #expect(driver.serving() == 4)
  }

  /// What lies there at a first start is accepted in any order: the newest goes first, the one kept beside it second.
  @Test func aFirstStartBringsUpTheNewestAndTheOneBeforeItAndRefusesNeither() {
    var driver = ReconcilerDriver(keep: 1)
    var ledger = AcceptanceLedger(keep: 1)
    for version in [6, 7] as [UInt64] { driver.put(version) }
    #expect(settle(&driver, &ledger) == [])
    #expect(driver.state(7) == .live && driver.state(6) == .live)
    #expect(ledger.accepted.record(model, keyID: "k")?.highest == 7)
  }

  // MARK: files that are invalid or gone

  @Test func anInvalidFileWithNoneKnownLetsNothingGoLive() throws {
    var driver = ReconcilerDriver()
    driver.put(1)
    driver.put(2)
    driver.rolloutFiles[model] = invalid
    let actions = driver.scan()
    #expect(actions.loads.isEmpty)
    guard case .invalid(let reason) = invalid else { return }
    #expect(actions.contains(.tell(.rollout(model, .refused(reason, isHeld: true)))))
    #expect(driver.serving() == nil && !driver.reconciler.isReady)
    #expect(driver.version(2)?.reason == "not loaded: rollout.yaml cannot be read, and no earlier one is known")
    #expect(rollout(driver)?.isHeld == true)
    #expect(
      driver.reconciler.status.obstacle
        == "model \"m\": no version is live; 2 is retired, not loaded: rollout.yaml cannot be read, and no earlier one is known"
    )
    try driver.order("serve: 1")
    driver.settle()
    #expect(driver.serving() == 1 && driver.reconciler.isReady && rollout(driver)?.isHeld == false)
    #expect(driver.state(2) == .retired)
  }

  @Test func anInvalidFileWithNoneKnownKeepsWhatServes() {
    var driver = ReconcilerDriver.live(1...2)
    driver.rolloutFiles[model] = invalid
    driver.put(3)
    driver.settle()
    #expect(driver.serving() == 2 && driver.state(3) == .retired)
    #expect(driver.state(1) == .live, "the way back stays")
    driver.restart()
    driver.settle()
    #expect(driver.serving() == 2, "what has served before is nothing new")
    #expect(driver.state(3) == .retired)
    driver.rolloutFiles[model] = nil
    driver.settle()
    #expect(driver.serving() == 3)
  }

  @Test func aVersionThatWasOnItsWayWhenTheFileBecameInvalidDoesNotServe() {
    var driver = ReconcilerDriver()
    driver.put(1)
    #expect(driver.scan().loads.count == 1)
    driver.rolloutFiles[model] = invalid
    _ = driver.scan()
    let actions = driver.succeed(1)
    #expect(driver.serving() == nil)
    #expect(actions.releases == [1])
  }

  @Test func anInvalidFileAfterAGoodOneChangesNothing() throws {
    var driver = ReconcilerDriver.live(1...2)
    try driver.order("serve: 1")
    driver.settle()
    driver.rolloutFiles[model] = invalid
    driver.put(3)
    driver.settle()
    #expect(driver.serving() == 1 && rollout(driver)?.isHeld == false)
    driver.restart()
    driver.settle()
    #expect(driver.serving() == 1 && driver.reconciler.isReady)
  }

  @Test func aFileThatIsGoneStaysInForceUntilAnotherSaysOtherwise() throws {
    var driver = ReconcilerDriver.live(1...2)
    try driver.order("serve: 1")
    driver.settle()
    try driver.order(nil)
    driver.put(3)
    var actions = driver.scan()
    #expect(actions.contains(.tell(.rollout(model, .removed))))
    #expect(driver.serving() == 1 && driver.state(3) == .retired)
    #expect(rollout(driver)?.isFileMissing == true && rollout(driver)?.file == "serve: 1")
    actions = driver.scan()
    #expect(actions.isEmpty, "told once")
    driver.restart()
    driver.settle()
    #expect(driver.serving() == 1 && rollout(driver)?.isFileMissing == true)
    try driver.order("serve: latest")
    driver.settle()
    #expect(driver.serving() == 3 && rollout(driver)?.isFileMissing == false)
  }

  @Test func aRememberedFileThatThisReleaseDoesNotUnderstandLetsNothingNewGoLive() throws {
    var memory = RolloutMemory()
    memory.file = "serve: newest-but-one"
    memory.served = [1]
    var driver = ReconcilerDriver(memories: [model: memory])
    driver.put(1)
    driver.put(2)
    driver.settle()
    #expect(driver.serving() == 1 && driver.state(2) == .retired && rollout(driver)?.isHeld == true)
    #expect(rollout(driver)?.problem.hasPrefix("the rollout file that was in force before the restart: ") == true)
    try driver.order("serve: latest")
    driver.settle()
    #expect(driver.serving() == 2 && rollout(driver)?.isHeld == false)
  }

  // MARK: undo

  private func guarded(_ driver: inout ReconcilerDriver, _ version: UInt64) -> [ReconcilerDriver.Action]? {
    driver.reconciler.quarantine(
      ReconcilerDriver.key(version), cause: .guardErrors, reason: "error_rate", now: driver.now)
  }

  private func refusal(_ driver: inout ReconcilerDriver, from: UInt64? = nil) -> ServingError? {
    do throws(ServingError) {
      _ = try driver.reconciler.undo(model, from: from.flatMap { ModelVersion($0) }, now: driver.now)
      return nil
    } catch {
      return error
    }
  }

  @Test func anUndoAfterTheGuardHasGoneBackIsRefusedUnlessItIsNamedOrForced() throws {
    var driver = ReconcilerDriver.live(1...3, keep: 2)
    #expect(guarded(&driver, 3) != nil)
    #expect(driver.serving() == 2)
    let before = driver.reconciler.rollouts
    #expect(
      refusal(&driver)
        == .invalidArgument(
          "model \"m\": expected a version whose traffic the guard has not taken yet, found version 3 quarantined by "
            + "guard_errors (error_rate), and 2 serves since; name a version to take its traffic all the same"))
    #expect(
      refusal(&driver, from: 3)
        == .notFound(
          "model \"m\": version 3 answers no request that names none, quarantined by guard_errors (error_rate); 2 serves"
        ))
    #expect(driver.reconciler.rollouts == before && driver.serving() == 2)
    var named = driver
    #expect(refusal(&named, from: 2) == nil)
    #expect(named.serving() == 1)
    _ = try driver.reconciler.undo(model, isForced: true, now: driver.now)
    #expect(driver.serving() == 1)
  }

  @Test func anUndoAfterTheGuardTookTheCanaryDoesNotTakeTheStableVersion() throws {
    for file in [
      "labels: {stable: 2, canary: 3}\nsplit: {stable: 90, canary: 10}", "serve: 2\nlabels: {canary: 3}",
    ] {
      var driver = ReconcilerDriver.live(1...3, keep: 2)
      try driver.order(file)
      driver.settle()
      #expect(driver.serving() == 2)
      #expect(guarded(&driver, 3) != nil)
      #expect(refusal(&driver)?.code == .invalidArgument)
      #expect(driver.serving() == 2)
    }
  }

  @Test func whatTheGuardTookLongAgoDoesNotKeepFromAnUndo() {
    var driver = ReconcilerDriver.live(1...2)
    #expect(guarded(&driver, 2) != nil)
    driver.put(3)
    driver.settle()
    #expect(driver.serving() == 3)
    #expect(refusal(&driver) == nil)
    #expect(driver.serving() == 1)
  }

  @Test func anUndoOfOneArmLeavesTheOthers() throws {
    var driver = ReconcilerDriver.live(1...3, keep: 2)
    try driver.order("split: {1: 80, 2: 10, 3: 10}")
    driver.settle()
    #expect(refusal(&driver, from: 2) == nil)
    #expect(driver.reconciler.table.first?.routing.shares.map(\.version.number) == [3, 1])
    #expect(refusal(&driver, from: 2)?.code == .notFound)
    #expect(refusal(&driver, from: 9)?.code == .notFound)
  }

  @Test func anUndoWhereNothingIsLiveSaysWhetherToTryAgain() {
    var driver = ReconcilerDriver()
    #expect(refusal(&driver)?.code == .notFound)
    driver.put(1)
    _ = driver.scan()
    #expect(refusal(&driver)?.code == .unavailable)
    _ = driver.refuse(1)
    #expect(refusal(&driver)?.code == .unavailable)
  }

  // MARK: retiring

  @Test func aRetiredModelServesNothingAndLeavesMemory() throws {
    var driver = ReconcilerDriver.live(1...2)
    try driver.order("serve: none")
    var actions = driver.scan()
    #expect(actions.releases.sorted() == [1, 2])
    #expect(driver.serving() == nil && driver.reconciler.table.first?.isRetired == true)
    actions += driver.reconciler.released(ReconcilerDriver.key(2), now: driver.now)
    actions += driver.reconciler.released(ReconcilerDriver.key(1), now: driver.now)
    driver.put(3)
    actions += driver.scan()
    #expect(actions.loads.isEmpty)
    #expect(driver.version(3)?.reason == "not loaded: rollout.yaml says that the model serves none")
    // To delete the directory is safe, and what is published anew waits for somebody to say so.
    for version in [1, 2, 3] as [UInt64] { driver.take(version) }
    try driver.order(nil)
    _ = driver.scan()
    #expect(driver.reconciler.status.models.isEmpty)
    driver.put(4)
    driver.settle()
    #expect(driver.state(4) == .retired && driver.serving() == nil)
    try driver.order("serve: latest")
    driver.settle()
    #expect(driver.serving() == 4)
  }

  @Test func aModelRetiredWhileOneOfItsVersionsLoadsDoesNotServeIt() throws {
    var driver = ReconcilerDriver()
    driver.put(1)
    #expect(driver.scan().loads.count == 1)
    try driver.order("serve: none")
    _ = driver.scan()
    #expect(driver.succeed(1).releases == [1])
    #expect(driver.serving() == nil)
  }

  @Test func anUntrustedVersionIsNotKeptByRetiring() throws {
    var driver = ReconcilerDriver.live(1...1)
    _ = driver.trustChanged(refusing: [1])
    #expect(driver.serving() == 1)
    try driver.order("serve: none")
    #expect(driver.scan().releases == [1])
    #expect(driver.serving() == nil)
  }

  // MARK: readiness

  @Test func isReadyOnlyWhenEveryModelServes() {
    var driver = ReconcilerDriver()
    _ = driver.scan()
    #expect(driver.reconciler.status.obstacle == "the store holds no model")
    for model in ["a", "b", "c", "d", "e"] { driver.put(1, model) }
    var actions = driver.scan()
    _ = actions
    while let load = driver.reconciler.table.first(where: { !$0.awaited.isEmpty && $0.model.name == "a" }) {
      _ = load
      actions = driver.refuse(1, "a", label: "untrusted")
    }
    #expect(!driver.reconciler.isReady)
    for model in ["b", "c", "d"] { _ = driver.refuse(1, model, label: "untrusted") }
    _ = driver.succeed(1, "e")
    #expect(!driver.reconciler.isReady)
    let reason = "no version is live; 1 is rejected, refused: untrusted"
    #expect(
      driver.reconciler.status.obstacle
        == "model \"a\": \(reason); model \"b\": \(reason); model \"c\": \(reason); and 1 more")
  }

  @Test func aModelThatIsOnlyHalfThereHoldsReadinessBack() {
    var driver = ReconcilerDriver()
    driver.put(1, "m", .incomplete(found: 10, expected: 90))
    _ = driver.scan()
    #expect(!driver.reconciler.isReady)
    #expect(
      driver.reconciler.status.obstacle
        == "model \"m\": no version is live; 1 is incomplete, found 10 of 90 bytes")
    driver.put(1)
    driver.settle()
    #expect(driver.reconciler.isReady)
    // A server that serves does not stop because somebody uploads something bad.
    driver.put(1, "new")
    _ = driver.scan()
    _ = driver.refuse(1, "new")
    #expect(driver.reconciler.isReady && driver.reconciler.status.obstacle.isEmpty)
    #expect(driver.reconciler.status.isReady)
  }

  @Test func aRetiredModelDoesNotHoldReadinessBack() throws {
    var driver = ReconcilerDriver()
    driver.put(1)
    driver.put(1, "other")
    try driver.order("serve: none")
    driver.settle()
    #expect(driver.serving("other") == 1 && driver.reconciler.isReady)
    driver = ReconcilerDriver()
    driver.put(1)
    try driver.order("serve: none")
    driver.settle()
    #expect(driver.reconciler.status.obstacle == "the store holds no model")
  }

  @Test func namedModelsDecideWhateverElseTheStoreHolds() throws {
    var driver = ReconcilerDriver(readiness: .models([try ModelID("m"), try ModelID("n")]))
    driver.put(1)
    driver.put(1, "bad", .notABundle(BundleError(.badMagic, "magic")))
    driver.settle()
    #expect(driver.reconciler.status.obstacle == "model \"n\": not in the store")
    driver.put(1, "n")
    driver.settle()
    #expect(driver.reconciler.isReady)
  }

  @Test func aLenientServerIsReadyOnceItHasLooked() {
    var driver = ReconcilerDriver(readiness: .anything)
    #expect(!driver.reconciler.isReady)
    #expect(driver.reconciler.status.obstacle == "the store's first scan is not finished")
    driver.put(1)
    _ = driver.scan()
    #expect(!driver.reconciler.isReady, "one is on its way")
    _ = driver.refuse(1)
    #expect(driver.reconciler.isReady)
  }

  @Test func aStoreThatCannotBeReadIsNotReady() {
    var driver = ReconcilerDriver()
    driver.isReadable = false
    _ = driver.scan()
    #expect(driver.reconciler.status.obstacle == "the store cannot be read")
    driver.isReadable = true
    driver.put(1)
    driver.settle()
    #expect(driver.reconciler.isReady)
  }
}
