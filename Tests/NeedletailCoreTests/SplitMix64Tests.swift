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
