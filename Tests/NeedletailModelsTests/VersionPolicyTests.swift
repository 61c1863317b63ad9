import NeedletailCore
import NeedletailModels
import Testing

@Suite("Version policy")
struct VersionPolicyTests {
  private func decide(
    keep: Int = 1, live: [UInt64] = [], loadable: [UInt64] = [], late: Set<UInt64> = [], distrusted: [UInt64] = []
  ) -> VersionPolicy.Decision {
    VersionPolicy(keep: keep).decide(
      live.map { .init(ModelVersion($0)!, .live) } + distrusted.map { .init(ModelVersion($0)!, .distrusted) }
        + loadable.map { .init(ModelVersion($0)!, .loadable, isLate: late.contains($0)) })
  }

  @Test func servesTheNewestLiveVersion() {
    #expect(decide(live: [3, 9, 10]).serving?.number == 10)
    #expect(decide(loadable: [1]).serving == nil)
  }

  @Test func loadsTheNewestFirstThenWhatIsKept() {
    #expect(decide(keep: 0, loadable: [1, 2, 3]).load.map(\.number) == [3])
    #expect(decide(keep: 1, loadable: [1, 2, 3]).load.map(\.number) == [3, 2])
    #expect(decide(keep: 5, loadable: [1, 2, 3]).load.map(\.number) == [3, 2, 1])
  }

  @Test func loadsANewerVersionWithoutDisplacingPreviousOnes() {
    #expect(decide(keep: 0, live: [4], loadable: [5, 6]).load.map(\.number) == [6])
    #expect(decide(keep: 1, live: [4], loadable: [5, 6]).load.map(\.number) == [6])
    #expect(decide(keep: 1, live: [6, 4], loadable: [5]).load.isEmpty)
  }

  @Test func doesNotLoadAnOlderVersionThatCameLate() {
    #expect(decide(keep: 3, live: [4], loadable: [2, 3], late: [3]).load.map(\.number) == [2])
  }

  @Test func fallsBackFromAVersionThatIsNoLongerTrusted() {
    let fallback = decide(live: [3], distrusted: [4])
    #expect(fallback.serving?.number == 3)
    #expect(fallback.retire.map(\.number) == [4])
    #expect(!fallback.isInNeed)
  }

  @Test func keepsServingWhatIsNotTrustedUntilAnotherIsLive() {
    let alone = decide(loadable: [1, 2], late: [1, 2], distrusted: [3, 4])
    #expect(alone.serving?.number == 4)
    #expect(alone.isInNeed)
    #expect(alone.load.map(\.number) == [2], "the next lower one, whenever it came")
    #expect(alone.retire.map(\.number) == [3])
  }

  @Test func retiresTheOldestBeyondWhatIsKept() {
    #expect(decide(keep: 0, live: [1, 2]).retire.map(\.number) == [1])
    #expect(decide(keep: 1, live: [1, 2, 3, 4]).retire.map(\.number) == [2, 1])
    #expect(decide(keep: 1, live: [1, 2], loadable: [3]).retire.isEmpty, "not before the new one is live")
  }
}

@Suite("Version lifecycle")
struct VersionLifecycleTests {
  private let now = Moment(instant: Instant(nanoseconds: 1), milliseconds: 7)

  private func enter(
    _ state: VersionState, _ reason: String, _ now: Moment, _ lifecycle: inout VersionLifecycle
  ) -> Bool {
    lifecycle.enter(state, reason: reason, now: now)
  }

  @Test func goesForwardOneStateAtATime() {
    var lifecycle = VersionLifecycle(.incomplete, reason: "", now: now)
    for state in [.verifying, .loading, .checking, .warming, .live, .retiring, .retired] as [VersionState] {
      #expect(lifecycle.canEnter(state))
      #expect(enter(state, "", now, &lifecycle))
    }
  }

  @Test func canBeRejectedUntilItIsLiveAndNotAfter() {
    for state in [.verifying, .loading, .checking, .warming] as [VersionState] {
      var lifecycle = VersionLifecycle(.incomplete, reason: "", now: now)
      for step in [.verifying, .loading, .checking, .warming] as [VersionState] {
        _ = lifecycle.enter(step, now: now)
        if step == state { break }
      }
      #expect(lifecycle.canEnter(.rejected), "from \(state)")
    }
    var lifecycle = VersionLifecycle(.verifying, reason: "", now: now)
    for step in [.loading, .checking, .warming, .live] as [VersionState] { _ = lifecycle.enter(step, now: now) }
    #expect(!lifecycle.canEnter(.rejected))
    #expect(!lifecycle.canEnter(.retired), "only after its memory was let go")
  }

  @Test func keepsItsTimeWhenOnlyTheReasonChanges() {
    var lifecycle = VersionLifecycle(.verifying, reason: "waiting", now: now)
    var later = now
    later.milliseconds = 99
    #expect(enter(.verifying, "", later, &lifecycle))
    #expect(!enter(.verifying, "", later, &lifecycle))
    #expect(lifecycle.sinceMilliseconds == 7)
    #expect(enter(.rejected, "no", later, &lifecycle))
    #expect(lifecycle.sinceMilliseconds == 99)
  }
}
