import NeedletailCore
import NeedletailEngine
import NeedletailModels
import NeedletailSystem
import NeedletailTestSupport
import Synchronization
import Testing

@testable import NeedletailServing

/// What a loop does when it meets a version and when it lets go of it: nothing that takes memory from the system.
@Suite("Versions on a loop", .timeLimit(.minutes(10)))
struct VersionMemoryTests {
  /// Page faults of this thread while `body` runs.
  private static func faults(_ body: () -> Void) -> Int {
    func faults() -> Int {
      // Minor faults are field 10 of proc(5), the eighth after the name.
      let text = (try? WholeFile.text("/proc/thread-self/stat", bytesMax: 4096)) ?? ""
      let fields = text.split(separator: ")").last?.split(separator: " ") ?? []
      return fields.count > 7 ? Int(fields[7]) ?? 0 : 0
    }
    let before = faults()
    body()
    return faults() - before
  }

  @Test func theFirstCallOfAVersionTouchesNoNewMemory() throws {
    let bench = BatcherBench()
    // What the first call of any version needs, such as pages of code.
    bench.publish(try bench.live(ModelFixtures.mlp(widths: [8, 16, 2], seed: 1)))
    bench.call(1, [[Float](repeating: 1, count: 8)])
    bench.run()
    let model = try bench.live(ModelFixtures.mlp(widths: [8, 2048, 2048, 2], seed: 2), version: 2)
    let pages = model.compiled.plan.workspaceBytes / 4096
    #expect(pages > 500)
    bench.publish(model)
    let row = [Float](repeating: 1, count: 8)
    let found = Self.faults {
      bench.call(2, [row])
      bench.run()
    }
    #expect(bench.writer.answers[2]?.version == 2)
    #expect(found < 50, "\(found) page faults; its scratch has \(pages) pages")
  }

  @Test func theMemoryOfARetiredVersionIsHandedOverAndNotFreed() throws {
    let bench = BatcherBench()
    let handed = Mutex<[RetiredMemory]>([])
    let kept = Mutex<[LiveModel]>([])
    weak var version: LiveModel?
    weak var plan: Plan?
    do {
      let model = try bench.live(ModelFixtures.constant(1)) { memory in
        handed.withLock { $0.append(memory) }
      } onHandOver: { model in
        kept.withLock { $0.append(model) }
      }
      bench.publish(model)
      bench.call(1, [[0]])
      bench.run()
      (version, plan) = (model, model.compiled.plan)
    }
    bench.publish(try bench.live(ModelFixtures.constant(2), version: 2))
    bench.registry.reclaim()
    #expect(version != nil, "the loop holds it")
    bench.batcher.sweep()
    #expect(version != nil, "it gave its reference away")
    kept.withLock { $0 = [] }
    #expect(version == nil && plan != nil)
    handed.withLock { $0 = [] }
    #expect(plan == nil)
  }

  /// With a search among all versions in each call, and all versions looked at in each tick, this took 200 times as long.
  @Test func aCallAmongAThousandVersionsCostsWhatItCostsAlone() throws {
    func nanoseconds(versions: Int) throws -> Double {
      let bench = BatcherBench()
      let models = try (1...UInt64(versions)).map { version in
        try bench.live(ModelFixtures.constant(1), version: version, planRows: 1)
      }
      bench.registry.publish(
        ModelTable([
          ModelTable.Entry(model: models[0].model, live: models.reversed(), serving: models[0].version)
        ]))
      var id: UInt64 = 0
      func calls(_ count: Int) {
        for _ in 0..<count {
          id += 1
          bench.call(id, [[0]], version: UInt64(versions))
          bench.run()
          bench.batcher.feedShadows()
        }
      }
      // Every version was called once.
      for version in 1...UInt64(versions) {
        bench.call(0, [[0]], version: version)
        bench.run()
      }
      var fastest = UInt64.max
      for _ in 0..<20 {
        let start = Instant.now()
        calls(20)
        fastest = min(fastest, Instant.now().nanoseconds - start.nanoseconds)
      }
      return Double(fastest) / 20
    }
    let (one, thousand) = (try nanoseconds(versions: 1), try nanoseconds(versions: 1000))
    // The version itself is found among those of one model, in a list.
    #expect(thousand < one * 3, "\(thousand) ns, alone \(one) ns")
  }

  @Test func aTableOfManyVersionsIsSweptOverSeveralTicks() throws {
    let bench = BatcherBench()
    let count = UInt64(Limits.batchesSweptPerTick * 3)
    func live(_ first: UInt64) throws -> [LiveModel] {
      try (first..<first + count).map { try bench.live(ModelFixtures.constant(1), version: $0, planRows: 1) }
    }
    func publish(_ models: [LiveModel]) {
      bench.registry.publish(
        ModelTable([ModelTable.Entry(model: models[0].model, live: models.reversed(), serving: models[0].version)]))
    }
    final class Left: Sendable {
      let count = Atomic(0)
    }
    let left = Left()
    do {
      var models: [LiveModel] = []
      for version in 1...count {
        models.append(
          try bench.live(ModelFixtures.constant(1), version: version, planRows: 1) { _ in
            left.count.add(1, ordering: .relaxed)
          })
      }
      publish(models)
      for version in 1...count { bench.call(version, [[0]], version: version) }
      bench.run()
    }
    publish(try live(10_000))
    bench.registry.reclaim()
    bench.call(10_000, [[0]])
    bench.run()
    #expect(left.count.load(ordering: .relaxed) < Int(count), "one tick does not look at all")
    for _ in 0..<200 {
      bench.call(10_001, [[0]])
      bench.run()
    }
    bench.registry.reclaim()
    #expect(left.count.load(ordering: .relaxed) == Int(count))
  }
}
