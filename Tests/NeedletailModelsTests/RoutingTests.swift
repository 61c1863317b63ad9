import NeedletailCore
import NeedletailModels
import Testing

@Suite("Routing")
struct RoutingTests {
  private func table(_ name: String = "digits", shares: [(UInt64, Int)], labels: [(String, UInt64?)] = []) throws
    -> ModelTable
  {
    try LiveModelFixtures.table(
      name, [1, 2, 3].map { try LiveModelFixtures.model(name, $0) },
      routing: ModelRouting(
        labels: labels.map { .init($0.0, $0.1.flatMap { ModelVersion($0) }) },
        shares: shares.map { .init(ModelVersion($0.0)!, points: $0.1) }))
  }

  private func version(
    _ table: ModelTable, _ name: String = "digits", _ selector: ModelSelector = .serving, key: String = "",
    draw: UInt64 = 0
  ) throws -> UInt64 {
    try Array(name.utf8).withUnsafeBytes { name in
      try Array(key.utf8).withUnsafeBytes { key in
        try table.borrowedModel(named: name, selector: selector, routingKey: key, draw: draw).takeUnretainedValue()
          .version.number
      }
    }
  }

  private func labelled(_ table: ModelTable, _ label: String) throws -> UInt64 {
    try Array(label.utf8).withUnsafeBytes { try version(table, "digits", .label($0)) }
  }

  @Test func aLabelStandsForItsVersion() throws {
    let table = try table(shares: [], labels: [("canary", 3), ("coming", nil), ("stable", 2)])
    #expect(try labelled(table, "stable") == 2)
    #expect(try labelled(table, "canary") == 3)
    #expect(throws: ServingError.unavailable("model \"digits\": label \"coming\" names a version that is not live")) {
      try labelled(table, "coming")
    }
    #expect(throws: ServingError.notFound("model \"digits\": label \"canry\" not defined, did you mean \"canary\"?")) {
      try labelled(table, "canry")
    }
    #expect(throws: ServingError.self) { try labelled(table, "") }
  }

  /// With 99 % for version 1 a client would build its rows for the canary, and its failures count against version 1.
  @Test func whoAsksForNoVersionIsToldOfTheOneThatServesAndNotOfTheFirstArm() throws {
    for points in [1, 100, 5000, 9999] {
      let table = try LiveModelFixtures.table(
        "digits", [1, 2, 3].map { try LiveModelFixtures.model("digits", $0) }, serving: 1,
        routing: ModelRouting(
          labels: [.init("canary", ModelVersion(3))],
          shares: [.init(ModelVersion(3)!, points: points), .init(ModelVersion(1)!, points: 10_000 - points)]))
      #expect(try table.model(named: "digits").version.number == 1)
      let canary = try Array("canary".utf8).withUnsafeBytes { try table.model(named: "digits", selector: .label($0)) }
      #expect(canary.version.number == 3)
    }
  }

  @Test func aKeyKeepsItsVersionAndAShareThatGrowsKeepsItsKeys() throws {
    let small = try table(shares: [(3, 500), (2, 9500)])
    let large = try table(shares: [(3, 2000), (2, 8000)])
    var movedToCanary = 0
    for user in 0..<4000 {
      let before = try version(small, key: "user-\(user)")
      #expect(try version(small, key: "user-\(user)", draw: UInt64(user)) == before)
      let after = try version(large, key: "user-\(user)")
      if before == 3 { #expect(after == 3) }
      if before != after { movedToCanary += 1 }
    }
    // 15 % of 4,000 change over: 600, within six standard deviations.
    #expect((465...735).contains(movedToCanary))
  }

  @Test func callsAreDividedByTheirShares() throws {
    let table = try table(shares: [(3, 500), (1, 2500), (2, 7000)])
    var byKey: [UInt64: Int] = [:]
    var byDraw: [UInt64: Int] = [:]
    for index in 0..<40_000 {
      byKey[try version(table, key: "\(index)"), default: 0] += 1
      byDraw[try version(table, draw: UInt64(index)), default: 0] += 1
    }
    // Binomial, six standard deviations: 262, 520 and 550.
    for counts in [byKey, byDraw] {
      #expect((1738...2262).contains(counts[3] ?? 0), "\(counts)")
      #expect((9480...10_520).contains(counts[1] ?? 0), "\(counts)")
      #expect((27_450...28_550).contains(counts[2] ?? 0), "\(counts)")
    }
  }

  @Test func twoModelsAssignTheSameCallersIndependently() throws {
    let (one, other) = (try table(shares: [(3, 1000), (2, 9000)]), try table("wine", shares: [(3, 1000), (2, 9000)]))
    var both = 0
    for user in 0..<10_000 {
      let isFirst = try version(one, key: "\(user)") == 3
      if try isFirst && version(other, "wine", key: "\(user)") == 3 { both += 1 }
    }
    // Independent: 1 % of 10,000, where the same salt would give 1,000.
    #expect((40...160).contains(both))
  }

  @Test func aVersionByNumberIgnoresTheSplit() throws {
    let table = try table(shares: [(3, 10_000 - 1), (2, 1)])
    for draw in 0..<100 { #expect(try version(table, "digits", .version(1), draw: UInt64(draw)) == 1) }
  }
}
