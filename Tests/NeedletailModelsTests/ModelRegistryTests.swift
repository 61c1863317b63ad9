import Foundation
import NeedletailCore
import NeedletailModels
import Synchronization
import Testing

@Suite("Model registry")
struct ModelRegistryTests {
  private let released = SharedCount()

  private func table(_ version: UInt64) throws -> ModelTable {
    try LiveModelFixtures.table("m", [LiveModelFixtures.model("m", version) { [released] in released.increment() }])
  }

  @Test func aLeaseSeesTheTableThatWasPublishedLast() throws {
    let registry = ModelRegistry(readers: 1)
    let reader = registry.reader(0)
    var lease = reader.lease()
    #expect(lease.table.entries.isEmpty)
    lease.end()
    registry.publish(try table(1))
    registry.publish(try table(2))
    lease = reader.lease()
    #expect(try lease.table.model(named: "m").version.number == 2)
    lease.end()
  }

  @Test func freesAnOldTableAtOnceWhenNobodyReads() throws {
    let registry = ModelRegistry(readers: 2)
    registry.publish(try table(1))
    registry.publish(try table(2))
    #expect(released.value == 1)
    #expect(registry.reclaim() == 0)
  }

  @Test func freesAnOldModelOnlyAfterTheLastLeaseEnds() throws {
    let registry = ModelRegistry(readers: 2)
    let (one, two) = (registry.reader(0), registry.reader(1))
    registry.publish(try table(1))
    let first = one.lease()
    let second = two.lease()
    registry.publish(try table(2))
    #expect(registry.reclaim() == 1)
    #expect(try first.table.model(named: "m").version.number == 1)
    first.end()
    #expect(registry.reclaim() == 1)
    #expect(released.value == 0)
    second.end()
    #expect(registry.reclaim() == 0)
    #expect(released.value == 1)
  }

  @Test func aLaterLeaseDoesNotHoldATableItCannotSee() throws {
    let registry = ModelRegistry(readers: 1)
    let reader = registry.reader(0)
    registry.publish(try table(1))
    registry.publish(try table(2))
    let lease = reader.lease()
    #expect(released.value == 1)
    registry.publish(try table(3))
    #expect(released.value == 1)
    lease.end()
    registry.reclaim()
    #expect(released.value == 2)
  }

  @Test func anInnerLeaseDoesNotEndTheOuterOne() throws {
    let registry = ModelRegistry(readers: 1)
    let reader = registry.reader(0)
    registry.publish(try table(1))
    let outer = reader.lease()
    registry.publish(try table(2))
    let inner = reader.lease()
    #expect(try inner.table.model(named: "m").version.number == 2)
    inner.end()
    #expect(registry.reclaim() == 1)
    #expect(try outer.table.model(named: "m").version.number == 1)
    outer.end()
    #expect(registry.reclaim() == 0)
  }

  @Test func aDroppedLeaseEnds() throws {
    let registry = ModelRegistry(readers: 1)
    let reader = registry.reader(0)
    registry.publish(try table(1))
    do { _ = reader.lease() }
    registry.publish(try table(2))
    #expect(released.value == 1)
  }

  @Test func givesAReaderBackWhenItsThreadIsDone() throws {
    let registry = ModelRegistry(readers: 1)
    for _ in 0..<3 {
      let reader = registry.reader(0)
      reader.lease().end()
    }
  }

  @Test func freesAllWithTheRegistry() throws {
    do {
      let registry = ModelRegistry(readers: 1)
      registry.publish(try table(1))
      registry.publish(try table(2))
    }
    #expect(released.value == 2)
  }

  /// Every reader checks on each lease that the model it sees has not been freed; the flag is set by the
  /// model's own end.
  @Test func readersNeverSeeAFreedModelWhileTablesSwap() throws {
    let (readers, swaps) = (3, 2000)
    let registry = ModelRegistry(readers: readers)
    let freed = FreedFlags(count: swaps + 1)
    let makeTable: @Sendable (Int) throws -> ModelTable = { version in
      try LiveModelFixtures.table(
        "m", [LiveModelFixtures.model("m", UInt64(version)) { freed.set(version) }])
    }
    registry.publish(try makeTable(1))
    let done = SharedCount()
    let failures = SharedCount()
    let leases = SharedCount()
    onThreads(readers + 1) { thread in
      if thread == readers {
        for version in 2...swaps {
          guard let table = try? makeTable(version) else {
            failures.increment()
            break
          }
          registry.publish(table)
        }
        done.increment()
        return
      }
      let reader = registry.reader(thread)
      var last: UInt64 = 0
      var name = "m"
      name.withUTF8 { name in
        repeat {
          let lease = reader.lease()
          if let model = try? lease.borrowedModel(named: UnsafeRawBufferPointer(name), selector: .serving) {
            model._withUnsafeGuaranteedRef { model in
              let version = model.version.number
              if freed.isSet(Int(version)) || version < last { failures.increment() }
              last = version
            }
          } else {
            failures.increment()
          }
          lease.end()
          leases.increment()
        } while done.value == 0
      }
    }
    #expect(failures.value == 0)
    #expect(leases.value >= readers)
    #expect(registry.reclaim() == 0)
    #expect((1..<swaps).allSatisfy { freed.isSet($0) })
    #expect(!freed.isSet(swaps))
  }
}

/// Runs `body` on as many threads at once, whatever the number of cores, and waits for all of them.
private func onThreads(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
  let group = DispatchGroup()
  for index in 0..<count {
    group.enter()
    Thread {
      body(index)
      group.leave()
    }.start()
  }
  group.wait()
}

/// One flag per version. `@unchecked Sendable`: atomics in fixed memory.
private final class FreedFlags: @unchecked Sendable {
  private let flags: UnsafeMutablePointer<Atomic<Bool>>
  private let count: Int

  init(count: Int) {
    self.count = count
    flags = .allocate(capacity: count)
    for index in 0..<count { (flags + index).initialize(to: Atomic(false)) }
  }

  deinit {
    flags.deinitialize(count: count)
    flags.deallocate()
  }

  func set(_ index: Int) { flags[index].store(true, ordering: .sequentiallyConsistent) }
  func isSet(_ index: Int) -> Bool { flags[index].load(ordering: .sequentiallyConsistent) }
}
