import NeedletailCore
import NeedletailModels
import Testing

@Suite("Rollback protection")
struct AcceptanceLedgerTests {
  private func key(_ version: UInt64, _ model: String = "m") -> VersionKey { ReconcilerDriver.key(version, model) }

  /// A ledger of a process that accepted these versions of `m`, each with the digest `d<version>`.
  private func ledger(_ versions: ClosedRange<UInt64>, keep: Int = 1) -> AcceptanceLedger {
    var ledger = AcceptanceLedger(keep: keep)
    for version in versions { _ = ledger.accept(key(version), digest: "d\(version)", keyID: "k") }
    return ledger
  }

  private func restarted(_ ledger: AcceptanceLedger, keep: Int = 1) -> AcceptanceLedger {
    AcceptanceLedger(ledger.accepted, keep: keep)
  }

  @Test func refusesAnOlderVersionThatWasNeverAccepted() {
    let ledger = restarted(ledger(5...7))
    #expect(ledger.refusal(of: key(4), digest: "d4", keyID: "k", isLate: false)?.label == "rollback")
    #expect(ledger.refusal(of: key(4), digest: "d4", keyID: "k", isLate: true)?.label == "rollback")
    #expect(ledger.refusal(of: key(8), digest: "d8", keyID: "k", isLate: false) == nil)
  }

  @Test func anAcceptedBundleIsAcceptedAgainButNoOtherUnderItsNumber() {
    let ledger = restarted(ledger(5...7))
    #expect(ledger.refusal(of: key(6), digest: "d6", keyID: "k", isLate: false) == nil)
    #expect(ledger.refusal(of: key(6), digest: "another", keyID: "k", isLate: false)?.label == "rollback")
  }

  @Test func countsForEachModelAndKeyApart() {
    let ledger = restarted(ledger(5...7))
    #expect(ledger.refusal(of: key(1, "n"), digest: "x", keyID: "k", isLate: false) == nil)
    #expect(ledger.refusal(of: key(1), digest: "x", keyID: "k2", isLate: false) == nil)
  }

  @Test func anUnsignedBundleHasNoOrderToProtect() {
    var ledger = AcceptanceLedger(keep: 1)
    let isNew = ledger.accept(key(9), digest: "d", keyID: "")
    #expect(!isNew)
    #expect(ledger.refusal(of: key(1), digest: "x", keyID: "", isLate: true) == nil)
  }

  /// The first process of a server knows nothing of earlier ones: what lies there at the start may come up in any order,
  /// and what appears later may not. ``ReconcilerRolloutTests`` drives both through the reconciler.
  @Test func inAFirstProcessOnlyWhatAppearsLaterIsHeldAgainstTheHighest() {
    let ledger = ledger(7...7)
    #expect(ledger.refusal(of: key(6), digest: "d6", keyID: "k", isLate: false) == nil)
    #expect(ledger.refusal(of: key(6), digest: "d6", keyID: "k", isLate: true)?.label == "rollback")
    #expect(ledger.refusal(of: key(7), digest: "d7", keyID: "k", isLate: true) == nil)
    #expect(ledger.refusal(of: key(8), digest: "d8", keyID: "k", isLate: true) == nil)
  }

  @Test func remembersTheNewestDigestsAndAlwaysTheHighest() {
    let ledger = restarted(ledger(1...40, keep: 30), keep: 30)
    #expect(ledger.refusal(of: key(9), digest: "d9", keyID: "k", isLate: false) == nil)
    #expect(ledger.refusal(of: key(8), digest: "d8", keyID: "k", isLate: false)?.label == "rollback")
    #expect(ledger.accepted.record(key(1).model, keyID: "k")?.highest == 40)
  }

  @Test func reportsWhetherThereIsSomethingNewToSave() {
    var ledger = AcceptanceLedger(keep: 1)
    let answers = (0..<2).map { _ in ledger.accept(key(1), digest: "d", keyID: "k") }
    #expect(answers == [true, false])
  }
}
