import Testing

@testable import NeedletailObjectStore

@Suite("Retries of requests to object stores")
struct RetryPolicyTests {
  private static let fault = ObjectStoreError(.unreachable, "gone")

  @Test func pausesTwiceAsLongEachTimeAndEndsAfterTheLastAttempt() {
    let policy = RetryPolicy()
    let pauses = (1...4).map { policy.pause(after: Self.fault, attempt: $0) { $0.upperBound } }
    #expect(pauses == [100_000, 200_000, 400_000, nil])
    #expect(policy.pause(after: Self.fault, attempt: 1) { $0.lowerBound } == 50_000)
  }

  @Test func retriesOnlyWhatMaySucceed() {
    for reason in ObjectStoreError.Reason.allCases {
      let pause = RetryPolicy().pause(after: ObjectStoreError(reason, ""), attempt: 1)
      #expect((pause != nil) == [.unreachable, .timeout, .torn, .throttled, .server].contains(reason), "\(reason)")
    }
  }

  @Test func waitsAsLongAsTheStoreAsksWithinReason() {
    func pause(_ seconds: Int) -> UInt64? {
      RetryPolicy().pause(after: ObjectStoreError(.throttled, "", retryAfterSeconds: seconds), attempt: 1)
    }
    #expect(pause(2) == 2_000_000)
    #expect(pause(3600) == 5_000_000)
  }

  @Test func stopsWhenTheBudgetIsSpentAndGoesOnAfterSuccesses() {
    let policy = RetryPolicy()
    for _ in 0..<20 { #expect(policy.pause(after: Self.fault, attempt: 1) != nil) }
    #expect(policy.pause(after: Self.fault, attempt: 1) == nil)
    for _ in 0..<6 { policy.succeed() }
    #expect(policy.pause(after: Self.fault, attempt: 1) != nil)
    #expect(policy.pause(after: Self.fault, attempt: 1) == nil)
  }
}
