import Foundation
import Testing

/// Random histories of a store: drops, copies that stop half-way, deletions, corruption, revocations,
/// kills. `Tests/reliability/simulate` runs many more, and any one of them again by its seed.
@Suite("Simulated store and clock")
struct StoreSimulationTests {
  private static func number(_ name: String) -> UInt64? {
    ProcessInfo.processInfo.environment[name].flatMap { UInt64($0) }
  }

  @Test func noHistoryBreaksAnInvariant() async throws {
    if let seed = Self.number("NEEDLETAIL_SEED") { return Self.run(seed, isTelling: true) }
    let first = Self.number("NEEDLETAIL_FIRST_SEED") ?? 0
    let count = Self.number("NEEDLETAIL_SEEDS") ?? 500
    let lanes = UInt64(ProcessInfo.processInfo.activeProcessorCount)
    let violations = await withTaskGroup(of: Int.self) { group in
      for lane in 0..<lanes {
        group.addTask {
          var violations = 0
          for seed in stride(from: first + lane, to: first + count, by: UInt64.Stride(lanes)) where violations < 3 {
            if !Self.holds(seed) { violations += 1 }
          }
          return violations
        }
      }
      return await group.reduce(0, +)
    }
    print("\(count) seeds from \(first): \(violations == 0 ? "0 violations" : "violations, see above")")
    #expect(violations == 0)
  }

  private static func holds(_ seed: UInt64) -> Bool {
    var simulation = StoreSimulation(seed: seed)
    do {
      try simulation.run()
      return true
    } catch {
      Issue.record("seed \(seed): \(error); replay with Tests/reliability/simulate --seed \(seed)")
      return false
    }
  }

  private static func run(_ seed: UInt64, isTelling: Bool) {
    var simulation = StoreSimulation(seed: seed)
    let result = Result { () throws(StoreSimulation.Violation) in try simulation.run() }
    for line in simulation.history { print(line) }
    switch result {
    case .success: print("seed \(seed): nothing violated")
    case .failure(let violation): Issue.record("seed \(seed): \(violation)")
    }
  }
}
