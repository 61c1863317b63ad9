import NeedletailCore
import Testing

@Suite("Seeded random numbers")
struct SplitMix64Tests {
  /// The first numbers of the reference implementation for the seed 1234567.
  @Test func followsTheReferenceImplementation() {
    var random = SplitMix64(seed: 1_234_567)
    #expect(
      (0..<5).map { _ in random.next() } == [
        6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423, 4_593_380_528_125_082_431,
        16_408_922_859_458_223_821,
      ])
  }

  @Test func unitNumbersLieBelowOneAndFillTheRange() {
    var random = SplitMix64(seed: 1)
    let numbers = (0..<10_000).map { _ in random.unit() }
    #expect(numbers.allSatisfy { (0..<1).contains($0) })
    #expect((0.48...0.52).contains(numbers.reduce(0, +) / 10_000))
  }
}

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
