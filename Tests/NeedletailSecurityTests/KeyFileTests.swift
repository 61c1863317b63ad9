import NeedletailCore
import NeedletailYAML
import Testing

@testable import NeedletailSecurity

@Suite("Key file")
struct KeyFileTests {
  static let hash = "sha256:" + String(repeating: "ab", count: 32)

  private func message(_ yaml: String) -> String {
    do {
      return "accepted \(try KeyFile.parse(yaml, path: "keys.yaml").count)"
    } catch {
      return error.description
    }
  }

  @Test func everyFieldOfAKeyFileIsRead() throws {
    let grants = try KeyFile.parse(
      """
      keys:
        - name: checkout
          hash: \(Self.hash)
          models: ["wine", "fraud-*"]
          calls: [predict, health]
          state: revoked
          limits: {requests_per_second: 1_000, rows_per_second: 50000, in_flight: 64}
        - {name: ops, hash: "sha256:\(String(repeating: "0", count: 64))", calls: ["*"]}
      certificates:
        - {name: billing, subject: "spiffe://example.org/billing"}
      """, path: "keys.yaml")
    let checkout = try #require(grants.first)
    #expect(checkout.models == [NamePattern("wine"), NamePattern("fraud-*")])
    #expect(checkout.calls == [.predict, .health])
    #expect(checkout.state == .revoked)
    #expect(checkout.bounds == .init(requestsPerSecond: 1000, rowsPerSecond: 50_000, inFlightMax: 64))
    #expect(grants[1].calls == .all && grants[1].reachesAllModels && grants[1].state == .active)
    #expect(grants[2].calls == .reading && !grants[2].calls.contains(.rollout))
    guard case .certificate("spiffe://example.org/billing") = grants[2].credential else {
      Issue.record("no certificate")
      return
    }
  }

  @Test(arguments: ["", "# nobody\n", "keys:\n", "keys: []\ncertificates:\n"])
  func anEmptyKeyFileHasNoKeys(yaml: String) throws { #expect(try KeyFile.parse(yaml, path: "k").isEmpty) }

  @Test(arguments: [
    (yaml: "keys:\n  - name: a\n    model: [wine]\n", says: ["keys.yaml:3", "\"model\"", "did you mean \"models\"?"]),
    (yaml: "keys:\n  - name: a\n", says: ["keys.yaml:2", "\"a\"", "hash", "none"]),
    (yaml: "keys:\n  - hash: \(hash)\n", says: ["keys.yaml:2", "name"]),
    (yaml: "keys:\n  - {name: a b, hash: \(hash)}\n", says: ["keys.yaml:2", "\"a b\""]),
    (yaml: "keys:\n  - name: a\n    hash: \(hash)\n    calls: [predictt]\n", says: [":4", "\"predict\""]),
    (yaml: "keys:\n  - name: a\n    hash: \(hash)\n    state: of\n", says: [":4", "active, revoked", "\"of\""]),
    (yaml: "keys:\n  - name: a\n    hash: \(hash)\n    limits: {in_flight: 0}\n", says: [":4", "in_flight", "\"0\""]),
    (yaml: "keys:\n  - name: a\n    hash: \(hash)\n    models: wine\n", says: [":4", "models", "list"]),
    (yaml: "keys:\n  - {name: a, hash: \(hash)}\n  - {name: b, hash: \(hash)}\n", says: [":3", "\"b\"", "of its own"]),
    (yaml: "keys:\n  - {name: a, hash: \(hash)}\ncertificates:\n  - {name: a, subject: x}\n", says: [":4", "twice"]),
    (yaml: "keys: [\n", says: ["keys.yaml:"]),
    (yaml: "keys: []\nkeys: []\n", says: ["keys"]),
    (yaml: "kees: []\n", says: ["keys.yaml:1", "\"kees\"", "\"keys\""]),
    (yaml: "- a\n", says: ["keys.yaml:1", "mapping"]),
  ])
  func aFileIsRefusedWithItsLine(yaml: String, says: [String]) {
    let message = message(yaml)
    for word in says { #expect(message.contains(word), "\(message)") }
  }

  @Test func aKeyInPlaceOfItsHashIsNotQuoted() {
    let key = APIKey()
    let message = message("keys:\n  - name: a\n    hash: \(key.text)\n")
    #expect(message.contains("keys.yaml:3") && !message.contains(key.text), "\(message)")
  }

  @Test func aMissingKeyFileIsReportedInOneSentence() {
    #expect(throws: YAMLError(YAMLPlace("/no/such"), expected: "a readable file", found: "none")) {
      try KeyFile.read(path: "/no/such")
    }
  }

  @Test func keysAreLongRandomAndOnlyTheirDigestIsNeeded() throws {
    let keys = (0..<100).map { _ in APIKey() }
    #expect(Set(keys.map(\.text)).count == 100)
    for key in keys {
      #expect(key.text.hasPrefix("ntk_") && key.text.utf8.count == 47)
      #expect(key.text.dropFirst(4).allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "-_".contains($0)) })
      let again = try #require(KeyDigest(text: key.digest.description))
      #expect(again.isSame(as: key.digest))
    }
    #expect(!keys[0].digest.isSame(as: keys[1].digest))
  }

  /// FIPS 180-2, appendix B.1.
  @Test func theDigestIsSHA256() {
    let abc = Array("abc".utf8)
    #expect(
      abc.withUnsafeBytes { KeyDigest(of: $0) }.description
        == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
  }

  @Test(arguments: [0, 7, 8, 31])
  func digestsThatDifferInOneBitAreNotTheSame(byte: Int) throws {
    var digits = Array(String(repeating: "00", count: 32))
    let zero = try #require(KeyDigest(text: "sha256:" + String(digits)))
    digits[byte * 2] = "1"
    let other = try #require(KeyDigest(text: "sha256:" + String(digits)))
    #expect(!zero.isSame(as: other) && zero.isSame(as: zero))
  }
}
