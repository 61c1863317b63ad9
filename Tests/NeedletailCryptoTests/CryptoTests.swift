import NeedletailCrypto
import Testing

@Suite("Hashes and signatures")
struct CryptoTests {
  /// Bytes of hexadecimal digits.
  private static func bytes(_ digits: String) -> [UInt8] {
    let values = digits.filter { !$0.isWhitespace }.compactMap(\.hexDigitValue)
    return stride(from: 0, to: values.count, by: 2).map { UInt8(values[$0] * 16 + values[$0 + 1]) }
  }

  /// Source: FIPS 180-4 examples, of NIST.
  @Test(arguments: [
    ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    (
      "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
      "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
    ),
  ])
  func sha256GivesThePublishedDigests(text: String, digest: String) {
    #expect(SHA256.hash(Array(text.utf8)) == Self.bytes(digest))
  }

  /// Source: RFC 4231, test cases 1, 2, 3 and 6.
  @Test(arguments: [
    (
      [UInt8](repeating: 0x0B, count: 20), Array("Hi There".utf8),
      "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
    ),
    (
      Array("Jefe".utf8), Array("what do ya want for nothing?".utf8),
      "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    ),
    (
      [UInt8](repeating: 0xAA, count: 20), [UInt8](repeating: 0xDD, count: 50),
      "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"
    ),
    (
      [UInt8](repeating: 0xAA, count: 131), Array("Test Using Larger Than Block-Size Key - Hash Key First".utf8),
      "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
    ),
  ])
  func hmacGivesThePublishedCodes(key: [UInt8], message: [UInt8], code: String) {
    #expect(HMACSHA256.code(of: message, key: key) == Self.bytes(code))
  }

  @Test func sha256OfPiecesIsThatOfTheWhole() {
    let whole = (0..<1000).map { UInt8(truncatingIfNeeded: $0 * 7) }
    for piece in [1, 63, 64, 65, 999] {
      var hash = SHA256()
      for start in stride(from: 0, to: whole.count, by: piece) {
        whole[start..<min(start + piece, whole.count)].withUnsafeBytes { hash.update($0) }
      }
      #expect(hash.finalize() == SHA256.hash(whole))
    }
  }

  /// Source: RFC 8032, section 7.1, tests 1 to 3.
  @Test(arguments: [
    (
      "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
      "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
      """
      e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b
      d25bf5f0595bbe24655141438e7a100b
      """
    ),
    (
      "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
      "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
      """
      92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c
      387b2eaeb4302aeeb00d291612bb0c00
      """
    ),
    (
      "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
      "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
      """
      6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659
      4a7c15e9716ed28dc027beceea1ec40a
      """
    ),
  ])
  func ed25519GivesThePublishedKeysAndSignatures(seed: String, key: String, message: String, signature: String) {
    let seed = Self.bytes(seed)
    let message = Self.bytes(message)
    #expect(Ed25519.publicKey(seed: seed) == Self.bytes(key))
    #expect(Ed25519.signature(of: message, seed: seed) == Self.bytes(signature))
    #expect(Ed25519.isSignature(Self.bytes(signature), of: message, publicKey: Self.bytes(key)))
  }

  @Test func noOtherKeyMessageOrSignatureVerifies() {
    let seed = CryptoLibrary.randomBytes(Ed25519.seedBytes)
    let key = Ed25519.publicKey(seed: seed)
    let message = Array("version 7 of wine".utf8)
    let signature = Ed25519.signature(of: message, seed: seed)
    for bit in [0, 100, 511] {
      var changed = signature
      changed[bit / 8] ^= 1 << (bit % 8)
      #expect(!Ed25519.isSignature(changed, of: message, publicKey: key))
    }
    let other = Ed25519.publicKey(seed: CryptoLibrary.randomBytes(Ed25519.seedBytes))
    #expect(!Ed25519.isSignature(signature, of: message, publicKey: other))
    #expect(!Ed25519.isSignature(signature, of: message + [0], publicKey: key))
    #expect(!Ed25519.isSignature(Array(signature.dropLast()), of: message, publicKey: key))
    #expect(!Ed25519.isSignature(signature, of: message, publicKey: []))
    // A point that is on no curve.
    #expect(!Ed25519.isSignature(signature, of: message, publicKey: [UInt8](repeating: 0xFF, count: 32)))
    #expect(Ed25519.isSignature(signature, of: message, publicKey: key))
  }

  @Test func randomBytesDifferEachTime() {
    #expect(CryptoLibrary.randomBytes(32).count == 32)
    #expect(CryptoLibrary.randomBytes(32) != CryptoLibrary.randomBytes(32))
  }
}
