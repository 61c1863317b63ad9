import NeedletailCore
import NeedletailTestSupport
import Testing

@testable import NeedletailEngine

@Suite struct MemoryPlannerTests {
  @Test func valuesThatLiveTogetherNeverShareBytes() {
    var random = SplitMix64(seed: 1)
    for _ in 0..<300 {
      let requests = (0..<Int(random.next() % 40)).map { _ in
        let first = Int(random.next() % 30) - 1
        return MemoryPlanner.Request(
          bytes: Int(random.next() % 5000), firstStep: first, lastStep: first + Int(random.next() % 8))
      }
      let layout = MemoryPlanner.plan(requests)
      for i in requests.indices {
        #expect(layout.offsets[i] % 64 == 0)
        #expect(layout.offsets[i] + requests[i].bytes <= layout.bytes)
        for j in 0..<i {
          let together =
            requests[i].firstStep <= requests[j].lastStep && requests[j].firstStep <= requests[i].lastStep
          let apart =
            layout.offsets[i] + requests[i].bytes <= layout.offsets[j]
            || layout.offsets[j] + requests[j].bytes <= layout.offsets[i]
          #expect(!together || apart, "\(requests[i]) and \(requests[j])")
        }
      }
    }
  }

  @Test func aChainOfValuesNeedsMemoryForTwo() {
    let requests = (0..<10).map { MemoryPlanner.Request(bytes: 640, firstStep: $0, lastStep: $0 + 1) }
    #expect(MemoryPlanner.plan(requests).bytes == 1280)
  }

  @Test func aPlanWithoutValuesNeedsNoMemory() {
    #expect(MemoryPlanner.plan([]) == .init(offsets: [], bytes: 0))
  }
}
