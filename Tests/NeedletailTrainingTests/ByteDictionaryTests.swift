import NeedletailCore
import Testing

@testable import NeedletailTraining

@Suite("Codes by bytes") struct ByteDictionaryTests {
  private func code(_ key: [UInt8], _ codes: ByteDictionary) -> Int32? { key.withUnsafeBytes { codes.code(of: $0) } }

  @Test func findsWhatItHoldsAndNothingElse() {
    var codes = ByteDictionary()
    var expected: [[UInt8]: Int32] = [:]
    var random = SplitMix64(seed: 7)
    // Short keys of few bytes meet often, and every length up to 40 is read by its own loads.
    for step in 0..<20_000 {
      let key = (0..<Int(random.next() % 41)).map { _ in UInt8(random.next() % 3) }
      #expect(code(key, codes) == expected[key])
      guard expected[key] == nil else { continue }
      expected[key] = Int32(step)
      key.withUnsafeBytes { codes.insert($0, code: Int32(step)) }
    }
    #expect(codes.count == expected.count)
    for (key, value) in expected { #expect(code(key, codes) == value) }
  }

  @Test func theEmptyTextIsAKey() {
    var codes = ByteDictionary()
    #expect(codes.code(of: "") == nil)
    codes.insert(UnsafeRawBufferPointer(start: nil, count: 0), code: 5)
    #expect(codes.code(of: "") == 5)
    #expect(code([0], codes) == nil)
  }
}
