import NeedletailBundle
import NeedletailCore
import NeedletailTestSupport
import Testing

@Suite("Whose signatures count")
struct TrustTests {
  private let bytes: [UInt8]

  init() throws { bytes = try BundleFixtures.bundle() }

  private func policy(
    models: [String] = ["*"], state: TrustedKey.State = .active, change: (inout TrustPolicy) -> Void = { _ in }
  ) -> TrustPolicy {
    var policy = TrustPolicy(keys: [
      TrustedKey(name: "release", publicKey: BundleFixtures.key.publicKey, models: models, state: state)
    ])
    change(&policy)
    return policy
  }

  private func reason(_ trust: TrustPolicy, _ bytes: [UInt8]? = nil) -> BundleError.Reason? {
    refusal(bytes ?? self.bytes, trust: trust)?.reason
  }

  @Test func anActiveKeyCounts() { #expect(reason(policy()) == nil) }

  @Test func aRetiredKeyStillCounts() { #expect(reason(policy(state: .retired)) == nil) }

  @Test func aRevokedKeyNeverCounts() {
    #expect(reason(policy(state: .revoked)) == .revoked)
    #expect(reason(policy(state: .revoked) { $0.allowUnsigned = true }) == .revoked)
  }

  @Test func anUnsignedBundleNeedsAnExplicitPolicy() throws {
    let unsigned = try BundleFixtures.bundle(keys: [])
    #expect(reason(policy(), unsigned) == .unsigned)
    #expect(reason(TrustPolicy(), unsigned) == .unsigned)
    #expect(reason(.allowingUnsigned, unsigned) == nil)
  }

  @Test func anUnknownKeyDoesNotCount() throws {
    let strange = try BundleFixtures.bundle(keys: [BundleFixtures.strangersKey])
    #expect(reason(policy(), strange) == .untrusted)
    #expect(reason(.allowingUnsigned, strange) == nil)
  }

  @Test(arguments: [
    (["wine"], true), (["w*"], true), (["w??e"], true), (["beer", "*ne"], true), (["beer*"], false), (["win"], false),
    ([], false),
  ])
  func aKeyCountsWithinItsScope(models: [String], isInScope: Bool) {
    #expect(reason(policy(models: models)) == (isInScope ? nil : .untrusted))
  }

  @Test func aRevokedDigestIsRefusedWithAnySignature() throws {
    let digest = try VerifiedBundle(
      BundleFile(bytes: bytes), trust: policy(), expecting: nil, nowMilliseconds: 0
    ).manifest.digest
    #expect(reason(policy { $0.revokedDigests = [digest] }) == .revoked)
    #expect(reason(TrustPolicy(allowUnsigned: true, revokedDigests: [digest])) == .revoked)
  }

  @Test func versionsBelowTheMinimumAreRefused() {
    #expect(reason(policy { $0.minimumVersions = ["wine": 2] }) == .revoked)
    #expect(reason(policy { $0.minimumVersions = ["wine": 1, "beer": 9] }) == nil)
  }

  @Test func aSignedBundleCannotBeReplayedUnderAnotherName() {
    #expect(throws: BundleError.self) { try read(bytes, model: "beer") }
    #expect(throws: BundleError.self) { try read(bytes, version: 2) }
  }

  @Test func aSignatureOfAnotherBundleDoesNotVerify() throws {
    let other = try BundleFixtures.bundle(createdMilliseconds: 1_760_000_000_001)
    let start = 64 + Int(bytes[40]) + Int(bytes[41]) << 8
    var forged = bytes
    forged.replaceSubrange(start..<start + 2048, with: other[start..<start + 2048])
    #expect(reason(policy(), forged) == .badSignature)
    #expect(reason(policy { $0.allowUnsigned = true }, forged) == .badSignature)
  }

  @Test func signingTwiceChangesNothingAndADifferentKeyAdds() throws {
    #expect(try BundleFixtures.key.sign(bytes) == bytes)
    let both = try BundleFixtures.strangersKey.sign(bytes)
    #expect(both != bytes)
    #expect(reason(policy(), both) == nil)
    #expect(
      try VerifiedBundle(BundleFile(bytes: both), trust: policy(), expecting: nil, nowMilliseconds: 0)
        .signatureKeyIDs.count == 2)
  }

  @Test func theSignatureBlockIsBounded() throws {
    var bytes = self.bytes
    #expect(throws: BundleError.self) {
      for seed in UInt8(10)..<60 { bytes = try SigningKey(seed: [UInt8](repeating: seed, count: 32)).sign(bytes) }
    }
    #expect(reason(policy(), bytes) == nil)
  }
}

@Suite("Trust files")
struct TrustFileTests {
  private let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  private func load(_ text: String) throws -> TrustPolicy {
    try TrustPolicy.load(path: directory.write(Array(text.utf8), to: "trust.yaml"))
  }

  private var key: String { "\(BundleFixtures.key.publicKey)" }

  @Test func everyFieldOfATrustFileIsRead() throws {
    let policy = try load(
      """
      keys:
        - name: release
          public_key: \(key)
          models: ["fraud-*", wine]
          state: retired
      revoked_digests:
        - \(String(repeating: "AB", count: 32))
      minimum_versions: {wine: 12}
      """)
    #expect(
      policy
        == TrustPolicy(
          keys: [
            TrustedKey(
              name: "release", publicKey: BundleFixtures.key.publicKey, models: ["fraud-*", "wine"], state: .retired)
          ], revokedDigests: [String(repeating: "ab", count: 32)], minimumVersions: ["wine": 12]))
  }

  @Test(arguments: ["", "keys:\n", "keys: []\nrevoked_digests:\n"])
  func anEmptyTrustFileTrustsNoKey(text: String) throws { #expect(try load(text) == TrustPolicy()) }

  @Test(arguments: [
    ("unknown key", "kes: []", #":1: expected a known key, found "kes", did you mean "keys"?"#),
    (
      "unknown key of a key", "keys:\n  - nam: x\n",
      #":2: keys[0]: expected a known key, found "nam", did you mean "name"?"#
    ),
    (
      "state", "keys:\n  - name: x\n    state: activ\n",
      #":3: keys[0].state: expected one of active, retired, revoked, found "activ", did you mean "active"?"#
    ),
    ("no name", "keys:\n  - state: active\n", ":2: keys[0]: expected a name, found none"),
    ("no public key", "keys:\n  - name: x\n", #":2: keys[0]: expected for "x" a public_key, found none"#),
    (
      "bad public key", "keys:\n  - name: x\n    public_key: abc\n",
      ":3: keys[0].public_key: expected ed25519: and 32 bytes as base64"
    ),
    (
      "short public key", "keys:\n  - name: x\n    public_key: ed25519:AAAA\n",
      ":3: keys[0].public_key: expected ed25519: and 32 bytes as base64"
    ),
    ("digest", "revoked_digests: [abc]", "expected 64 hexadecimal digits"),
    ("minimum", "minimum_versions: {wine: -1}", #"minimum_versions.wine: expected a number from 1, found "-1""#),
    ("not a list", "keys: 7", "keys: expected a list"),
    ("not a mapping", "- 7", ":1: expected a mapping"),
    ("not YAML", "keys: [", ": expected YAML"),
  ])
  func aMistakeIsNamed(name: String, text: String, expected: String) throws {
    let error = #expect(throws: BundleError.self) { try load(text) }
    #expect(error?.reason == .badTrustFile)
    #expect(error?.message.contains(expected) == true, "\(error?.message ?? "")")
    #expect(error?.message.contains("\n") == false)
  }

  @Test func aKeyNamedTwiceIsRefused() {
    #expect(throws: BundleError.self) {
      try load("keys:\n  - {name: x, public_key: \"\(key)\"}\n  - {name: x, public_key: \"\(key)\"}\n")
    }
  }
}
