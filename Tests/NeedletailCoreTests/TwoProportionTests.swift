import NeedletailCore
import Testing

@Suite("Two-proportion test")
struct TwoProportionTests {
  @Test func significanceAgreesWithKnownValues() throws {
    // NIST e-Handbook 7.3.3: 38 of 200 against 102 of 400, pooled 0.2333, z = −1.775.
    let test = try #require(TwoProportionTest(failures: 38, of: 200, against: 102, of: 400))
    #expect(abs(test.z + 1.775) < 0.001)
    #expect(abs(test.pValue - 0.0759) < 0.0005)
    let same = try #require(TwoProportionTest(failures: 50, of: 1000, against: 500, of: 10_000))
    #expect(same.z == 0 && same.pValue == 1)
  }

  @Test func tooFewRequestsAreNotCompared() {
    #expect(TwoProportionTest(failures: 0, of: 0, against: 5, of: 10) == nil)
    #expect(TwoProportionTest(failures: 1, of: 20, against: 0, of: 1000) == nil)
    #expect(TwoProportionTest(failures: 11, of: 10, against: 0, of: 1000) == nil)
    #expect(TwoProportionTest(failures: 1000, of: 1000, against: 1000, of: 1000) == nil)
  }
}
