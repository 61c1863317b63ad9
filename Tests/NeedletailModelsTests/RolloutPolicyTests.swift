import NeedletailCore
import NeedletailTestSupport
import Testing

@testable import NeedletailModels

@Suite("Rollout decisions")
struct RolloutPolicyTests {
  private func decide(
    _ yaml: String, keep: Int = 1, live: [UInt64] = [], loadable: [UInt64] = [], aside: [UInt64] = [],
    served: [UInt64] = []
  ) throws -> VersionPolicy.Decision {
    var memory = RolloutMemory()
    memory.quarantined = aside.map { .init(version: $0, cause: .undo, reason: "", sinceMilliseconds: 0) }
    memory.served = served
    return VersionPolicy(keep: keep).decide(
      live.map { .init(ModelVersion($0)!, .live) } + loadable.map { .init(ModelVersion($0)!, .loadable, isLate: true) },
      rollout: yaml.isEmpty ? RolloutPolicy() : try RolloutFile(parsing: yaml).policy, memory: memory)
  }

  @Test func servesTheNamedVersionAndLoadsItAlthoughItIsOld() throws {
    let back = try decide("serve: 2", live: [4], loadable: [2, 3], served: [4])
    #expect(back.serving?.number == 4, "until version 2 is live")
    #expect(back.load.map(\.number) == [2])
    let there = try decide("serve: 2", live: [2, 4], served: [4])
    #expect(there.serving?.number == 2)
    #expect(there.retire.isEmpty, "the way forth stays in memory")
  }

  @Test func aNewerVersionThatNobodyNamedIsNotLoaded() throws {
    #expect(try decide("serve: 3", live: [3], loadable: [4]).load.isEmpty)
    #expect(try decide("labels: {stable: 3, canary: 4}", live: [3], loadable: [4, 5]).load.map(\.number) == [4])
  }

  @Test func theVersionLabelledStableServes() throws {
    let decision = try decide("labels: {stable: 3, canary: 4}", live: [3, 4])
    #expect(decision.serving?.number == 3)
    #expect(decision.routing.labels.map(\.version?.number) == [4, 3])
    #expect(decision.retire.isEmpty)
  }

  @Test func theShareOfAVersionThatIsNotLiveGoesToTheStableOne() throws {
    let yaml = "labels: {stable: 3, canary: 4}\nsplit: {stable: 90, canary: 10}"
    #expect(try decide(yaml, live: [3]).routing.shares.isEmpty)
    let decision = try decide(yaml, live: [3, 4])
    // The stable version comes last, so that a share that grows keeps its keys.
    #expect(decision.routing.shares.map(\.version.number) == [4, 3])
    #expect(decision.routing.shares.map(\.points) == [1000, 9000])
  }

  @Test func aQuarantinedVersionGetsNoTraffic() throws {
    let yaml = "labels: {stable: 3, canary: 4}\nsplit: {stable: 90, canary: 10}\nshadow: canary"
    let decision = try decide(yaml, live: [3, 4], aside: [4])
    #expect(decision.serving?.number == 3)
    #expect(decision.routing.shares.isEmpty)
    #expect(decision.routing.shadow == nil)
    #expect(decision.routing.labels.map(\.version?.number) == [3, 3], "its callers get the stable version")
    #expect(try decide("", live: [3, 4], aside: [4], served: [4, 3]).serving?.number == 3)
    #expect(try decide("", live: [3], loadable: [4], aside: [4]).load.isEmpty)
    #expect(try decide("", live: [3], loadable: [4, 5], aside: [4]).load.map(\.number) == [5])
  }

  @Test func theOnlyVersionServesAlthoughItIsQuarantined() throws {
    #expect(try decide("", live: [4], aside: [4]).serving?.number == 4)
    #expect(try decide("", loadable: [4], aside: [4]).load.map(\.number) == [4])
    #expect(try decide("", loadable: [3, 4], aside: [4]).load.map(\.number) == [3])
  }

  @Test func aMissingNamedVersionLeavesTheOldOneServing() throws {
    #expect(try decide("serve: 9", loadable: [3, 4], served: [3]).load.map(\.number) == [3])
    #expect(try decide("serve: 9", loadable: [3, 4]).load.map(\.number) == [4])
  }

  @Test func keepInTheFileOverridesTheServersSetting() throws {
    #expect(try decide("keep: 0", live: [3, 4]).retire.map(\.number) == [3])
    #expect(try decide("keep: 3", live: [1, 2, 3, 4]).retire.isEmpty)
  }

  /// For any mixture of versions, states and files, requests are sent to a version that is live, and good if one is.
  @Test func anyFileWithAnyStatesGivesAValidTable() throws {
    var random = SplitMix64(seed: 7)
    for _ in 0..<20_000 {
      let versions = (1...6 as ClosedRange<UInt64>).filter { _ in random.next() % 4 != 0 }
      let live = versions.filter { _ in random.next() % 2 == 0 }
      let aside = (1...6 as ClosedRange<UInt64>).filter { _ in random.next() % 4 == 0 }
      var policy = RolloutPolicy()
      func any() -> ModelVersion { ModelVersion(random.next() % 6 + 1)! }
      switch random.next() % 3 {
      case 0: policy.serve = .latest
      case 1: policy.serve = .versions([any()])
      default: break
      }
      if random.next() % 2 == 0 { policy.labels = [.init("canary", any()), .init("stable", any())] }
      if random.next() % 2 == 0 {
        let (a, b) = (any(), any())
        let points = Int(random.next() % 10_001)
        if a != b { policy.split = [.init("a", a, points: points), .init("b", b, points: 10_000 - points)] }
      }
      if random.next() % 2 == 0 { policy.shadow = any() }
      var memory = RolloutMemory()
      memory.quarantined = aside.map { .init(version: $0, cause: .undo, reason: "", sinceMilliseconds: 0) }
      memory.served = versions.filter { _ in random.next() % 2 == 0 }
      let candidates = versions.map {
        VersionPolicy.Candidate(
          ModelVersion($0)!, live.contains($0) ? .live : .loadable, isLate: random.next() % 2 == 0)
      }
      let decision = VersionPolicy(keep: Int(random.next() % 3)).decide(candidates, rollout: policy, memory: memory)
      let good = live.filter { !aside.contains($0) }
      #expect((decision.serving == nil) == live.isEmpty)
      if let serving = decision.serving, !good.isEmpty { #expect(good.contains(serving.number)) }
      let reached =
        decision.routing.shares.map(\.version) + decision.routing.labels.compactMap(\.version)
        + [decision.serving, decision.routing.shadow].compactMap { $0 }
      for version in reached {
        #expect(live.contains(version.number) && !decision.retire.contains(version))
        if !good.isEmpty { #expect(!aside.contains(version.number)) }
      }
      let points = decision.routing.shares.reduce(0) { $0 + $1.points }
      #expect(points == 0 || points == RoutingPoint.count)
      #expect(Set(decision.load).count == decision.load.count)
      #expect(decision.load.allSatisfy { !live.contains($0.number) })
      // Once what it asks for is live, it asks for no more of what is wanted.
      if live.isEmpty && !versions.isEmpty { #expect(!decision.load.isEmpty) }
    }
  }
}
