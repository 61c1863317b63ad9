import NeedletailCore
import Testing

/// Digests of names are those of Python's `hashlib.blake2s(name, digest_size=16, key=secret)`.
@Suite("Names of calls")
struct CallKeyTests {
  private static let expected: [(name: String, secret: [UInt8], digest: String)] = [
    ("8812", [], "2b791e577b2db8bd59e4aa56ea3bf343"),
    (String(repeating: "x", count: 64), [], "e1d5fb352cad2589b30d4f38821b1608"),
    (String(repeating: "y", count: 65), [], "e9033ccbeb377e9a81f9d37acbca2614"),
    (String(repeating: "z", count: 256), [], "1e69ddb80ae76d086374a9e3a0255a88"),
    ("8812", Array("secret".utf8), "995ff0c97e735fb982d10a568a84c75d"),
    (String(repeating: "a", count: 200), Array(0..<32), "0a1514d5bc48b4265b46fcc9a840fef1"),
  ]

  @Test(arguments: expected.indices) func digestsAreThoseOfHashlib(_ index: Int) {
    let (name, secret, digest) = Self.expected[index]
    #expect(CallKeyHasher(secret: secret).key(of: name).text == digest)
  }

  @Test func noNameHasNoDigest() {
    #expect(CallKeyHasher().key(of: "").isNone)
    #expect(CallKeyHasher(secret: [1]).key(of: "").isNone)
    #expect(!CallKeyHasher().key(of: "\0").isNone)
  }
}
