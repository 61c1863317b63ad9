import NeedletailBundle
import NeedletailCore
import NeedletailModels
import Testing

@Suite("Reconciler: trust that is withdrawn")
struct ReconcilerTrustTests {
  @Test func fallsBackAtOnceWhenTheServingVersionIsNoLongerTrusted() throws {
    var driver = ReconcilerDriver.live(1...2)
    let actions = driver.trustChanged(refusing: [2])
    #expect(actions.alarms == [2])
    #expect(actions.rejections == ["revoked"])
    #expect(driver.serving() == 1)
    #expect(driver.reconciler.table.first?.live.map(\.number) == [1])
    #expect(
      actions.contains(.tell(.swapped(ReconcilerDriver.key(1).model, from: ModelVersion(2), to: ModelVersion(1)!))))
    _ = driver.reconciler.released(ReconcilerDriver.key(2), now: driver.now)
    #expect(driver.state(2) == .rejected)
    #expect(driver.version(2)?.reason == "key revoked")
    #expect(driver.scan().isEmpty, "the same file need not be read again")
    _ = driver.trustChanged()
    #expect(driver.state(2) == .verifying, "trusted again, it may come back")
  }

  @Test func verifiesTheFileThatReplacedAnUntrustedVersion() {
    var driver = ReconcilerDriver.live(1...2)
    driver.put(2)
    _ = driver.scan()
    _ = driver.inspect(2, .verified(digest: "another"))
    _ = driver.trustChanged(refusing: [2])
    let actions = driver.reconciler.released(ReconcilerDriver.key(2), now: driver.now)
    #expect(actions.loads.map(\.key.version.number) == [2], "it is another bundle, and may be trusted")
  }

  @Test(arguments: [true, false])
  func verifiesAFileThatWasBeingReadWhenItsVersionLostTrust(isReleasedFirst: Bool) {
    var driver = ReconcilerDriver.live(1...2)
    driver.put(2)
    #expect(driver.scan().inspections.count == 1)
    _ = driver.trustChanged(refusing: [2])
    var actions = isReleasedFirst ? driver.reconciler.released(ReconcilerDriver.key(2), now: driver.now) : []
    actions += driver.inspect(2, .verified(digest: "another"))
    if !isReleasedFirst { actions += driver.reconciler.released(ReconcilerDriver.key(2), now: driver.now) }
    #expect(actions.loads.map(\.key.version.number) == [2], "it is another bundle, and may be trusted")
  }

  @Test func theLoaderContinuesAfterAVersionWasRemovedWhileItWasRead() {
    var driver = ReconcilerDriver.live(1...2)
    driver.put(2)
    #expect(driver.scan().inspections.count == 1)
    driver.take(2)
    _ = driver.scan()
    _ = driver.trustChanged(refusing: [2])
    _ = driver.reconciler.released(ReconcilerDriver.key(2), now: driver.now)
    #expect(driver.version(2) == nil)
    _ = driver.inspect(2, .changed)
    driver.put(3)
    #expect(driver.scan().loads.map(\.key.version.number) == [3])
  }

  @Test func servesTheOnlyVersionOnWithAnAlarmAndLooksForAnother() {
    var driver = ReconcilerDriver.live(2...2)
    driver.put(1)
    #expect(driver.scan().loads.isEmpty)
    let actions = driver.trustChanged(refusing: [2])
    #expect(actions.alarms == [2])
    #expect(actions.loads.map(\.key.version.number) == [1])
    #expect(driver.serving() == 2, "the only version is never unloaded")
    #expect(
      driver.version(2)?.reason == "no longer trusted: key revoked; serving until another version is live")
    _ = driver.refuse(1)
    #expect(driver.serving() == 2)
    driver.put(3)
    #expect(driver.scan().loads.count == 1)
    #expect(driver.succeed(3).releases == [2])
    #expect(driver.serving() == 3)
  }

  @Test func endsTheAlarmWhenTrustComesBack() {
    var driver = ReconcilerDriver.live(1...1)
    _ = driver.trustChanged(refusing: [1])
    driver.take(1)
    _ = driver.scan()
    #expect(
      driver.version(1)?.reason
        == "no longer trusted: key revoked; serving until another version is live; "
        + "file removed from the store; still serving")
    #expect(driver.trustChanged(refusing: [1]).isEmpty, "once is enough")
    let actions = driver.trustChanged()
    #expect(actions.contains(.tell(.trust(ReconcilerDriver.key(1), nil))))
    #expect(driver.version(1)?.reason == "file removed from the store; still serving")
  }

  @Test func knowsNothingOfFilesInADirectoryThatCannotBeRead() {
    var driver = ReconcilerDriver.live(1...1)
    driver.put(2)
    _ = driver.scan()
    _ = driver.refuse(2)
    driver.unreadable = [ReconcilerDriver.key(1).model]
    #expect(driver.scan().isEmpty)
    driver.unreadable = []
    driver.isReadable = false
    #expect(driver.scan().isEmpty)
    #expect(driver.state(2) == .rejected)
  }
}
