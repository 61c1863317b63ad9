internal import NeedletailCore
internal import NeedletailYAML

extension TrustPolicy {
  static let fileBytesMax = 1 << 20

  /// Reads a trust file:
  /// ```yaml
  /// keys:
  ///   - name: release
  ///     public_key: ed25519:…
  ///     models: ["fraud-*"]     # absent: all
  ///     state: active           # retired still verifies, revoked never
  /// revoked_digests: []
  /// minimum_versions: {fraud-eu: 12}
  /// ```
  ///
  /// - Throws: `.io`, or `.badTrustFile` that names the line.
  public static func load(path: String) throws(BundleError) -> TrustPolicy {
    try parse(TextFile.read(path, bytesMax: fileBytesMax, reason: .badTrustFile), path: path)
  }

  /// Reads the text of a trust file; an empty one trusts no key.
  ///
  /// - Parameter path: path of the file in messages.
  static func parse(_ text: String, path: String) throws(BundleError) -> TrustPolicy {
    do throws(YAMLError) {
      return try TrustPolicy(YAMLNode.parse(text, file: path))
    } catch {
      throw BundleError(.badTrustFile, error.description)
    }
  }

  private init(_ file: YAMLNode) throws(YAMLError) {
    self.init()
    var names = Set<String>()
    for entry in try file.entries(known: ["keys", "revoked_digests", "minimum_versions"]) {
      switch entry.word {
      case "keys":
        for node in try entry.value.elements() {
          let key = try TrustedKey(node)
          guard names.insert(key.name).inserted else {
            throw node.wrong(expected: "every name once", found: "\(key.name.quotedForMessage) twice")
          }
          keys.append(key)
        }
      case "revoked_digests":
        for node in try entry.value.elements() { revokedDigests.insert(try Self.digest(node)) }
      default:
        for minimum in try entry.value.entries() {
          guard let version = ModelVersion(decimal: try minimum.value.text()) else {
            throw minimum.value.wrong(expected: "a number from 1")
          }
          minimumVersions[minimum.word] = version.number
        }
      }
    }
  }

  private static func digest(_ node: YAMLNode) throws(YAMLError) -> String {
    let digest = try node.text().lowercased()
    guard digest.utf8.count == 64, digest.allSatisfy({ $0.isHexDigit && $0.isASCII }) else {
      throw node.wrong(expected: "64 hexadecimal digits")
    }
    return digest
  }
}

extension TrustedKey {
  fileprivate init(_ node: YAMLNode) throws(YAMLError) {
    var name: String?
    var publicKey: PublicKey?
    var models = ["*"]
    var state = State.active
    for entry in try node.entries(known: ["name", "public_key", "models", "state"]) {
      switch entry.word {
      case "name": name = try entry.value.text()
      case "public_key": publicKey = try Self.publicKey(entry.value)
      case "models":
        models = try entry.value.elements().map { item throws(YAMLError) in try item.text() }
      default: state = try entry.value.choice()
      }
    }
    guard let name, !name.isEmpty else { throw node.wrong(expected: "a name", found: "none") }
    guard let publicKey else {
      throw node.wrong(expected: "for \(name.quotedForMessage) a public_key", found: "none")
    }
    self.init(name: name, publicKey: publicKey, models: models, state: state)
  }

  private static func publicKey(_ node: YAMLNode) throws(YAMLError) -> PublicKey {
    let text = try node.text()
    guard let key = try? PublicKey(text: text) else {
      // The text is not quoted, because it may be a private key.
      throw node.wrong(expected: "ed25519: and 32 bytes as base64", found: "something else")
    }
    return key
  }
}
