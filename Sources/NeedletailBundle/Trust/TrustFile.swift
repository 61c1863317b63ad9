internal import NeedletailCore
internal import Yams

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
  /// - Throws: `.io`, or `.badTrustFile` naming the line.
  public static func load(path: String) throws(BundleError) -> TrustPolicy {
    try parse(SystemCall.readText(path, bytesMax: fileBytesMax, reason: .badTrustFile), path: path)
  }

  /// - Parameter path: of the file, for messages.
  static func parse(_ text: String, path: String) throws(BundleError) -> TrustPolicy {
    let root: Yams.Node?
    do {
      root = try Yams.compose(yaml: text)
    } catch {
      throw BundleError(.badTrustFile, "\(path): expected YAML, found: \(error)".singleLine)
    }
    // An empty file trusts nobody.
    guard let root else { return TrustPolicy() }
    return try TrustFileReader(path: path).policy(root)
  }
}

/// Reads the nodes of a trust file.
private struct TrustFileReader {
  let path: String

  func policy(_ root: Yams.Node) throws(BundleError) -> TrustPolicy {
    var policy = TrustPolicy()
    for (key, value) in try mapping(root, "trust file", allowed: ["keys", "revoked_digests", "minimum_versions"]) {
      switch key {
      case "keys":
        for item in try sequence(value, key) { policy.keys.append(try self.key(item)) }
      case "revoked_digests":
        for item in try sequence(value, key) { policy.revokedDigests.insert(try digest(item)) }
      default:
        for (name, version) in try mapping(value, key, allowed: nil) {
          policy.minimumVersions[name] = try number(version, "minimum version of \(name.quotedForMessage)")
        }
      }
    }
    var names = Set<String>()
    for key in policy.keys where !names.insert(key.name).inserted {
      throw failure(root, "key \(key.name.quotedForMessage): expected once, found twice")
    }
    return policy
  }

  private func key(_ node: Yams.Node) throws(BundleError) -> TrustedKey {
    var name: String?
    var publicKey: PublicKey?
    var models = ["*"]
    var state = TrustedKey.State.active
    for (key, value) in try mapping(node, "key", allowed: ["name", "public_key", "models", "state"]) {
      switch key {
      case "name": name = try text(value, key)
      case "public_key":
        do {
          publicKey = try PublicKey(text: try text(value, key))
        } catch {
          throw failure(value, error.message)
        }
      case "models":
        models = []
        for item in try sequence(value, key) { models.append(try text(item, key)) }
      default:
        let word = try text(value, key)
        guard let known = TrustedKey.State(rawValue: word) else {
          let words = TrustedKey.State.allCases.map(\.rawValue)
          throw failure(
            value,
            "state: expected \(words.joined(separator: ", ")), found \(word.quotedForMessage)\(Suggestion.clause(for: word, among: words))"
          )
        }
        state = known
      }
    }
    guard let name, !name.isEmpty else { throw failure(node, "key: expected a name, found none") }
    guard let publicKey else {
      throw failure(node, "key \(name.quotedForMessage): expected a public_key, found none")
    }
    return TrustedKey(name: name, publicKey: publicKey, models: models, state: state)
  }

  private func digest(_ node: Yams.Node) throws(BundleError) -> String {
    let digest = try text(node, "revoked digest").lowercased()
    guard digest.utf8.count == 64, digest.allSatisfy({ $0.isHexDigit && $0.isASCII }) else {
      throw failure(node, "revoked digest: expected 64 hexadecimal digits, found \(digest.quotedForMessage)")
    }
    return digest
  }

  private func number(_ node: Yams.Node, _ field: String) throws(BundleError) -> UInt64 {
    let word = try text(node, field)
    guard let version = ModelVersion(decimal: word) else {
      throw failure(node, "\(field): expected a number from 1, found \(word.quotedForMessage)")
    }
    return version.number
  }

  // MARK: Shapes

  private func mapping(
    _ node: Yams.Node, _ field: String, allowed: [String]?
  ) throws(BundleError) -> [(key: String, value: Yams.Node)] {
    if isNull(node) { return [] }
    guard case .mapping(let mapping) = node else {
      throw failure(node, "\(field): expected a mapping, found another shape")
    }
    var entries: [(key: String, value: Yams.Node)] = []
    for (keyNode, value) in mapping {
      let key = try text(keyNode, "\(field): key")
      if let allowed, !allowed.contains(key) {
        throw failure(
          keyNode, "\(field): unknown key \(key.quotedForMessage)\(Suggestion.clause(for: key, among: allowed))")
      }
      entries.append((key, value))
    }
    return entries
  }

  private func sequence(_ node: Yams.Node, _ field: String) throws(BundleError) -> [Yams.Node] {
    if isNull(node) { return [] }
    guard case .sequence(let sequence) = node else {
      throw failure(node, "\(field): expected a list, found another shape")
    }
    return Array(sequence)
  }

  private func text(_ node: Yams.Node, _ field: String) throws(BundleError) -> String {
    guard case .scalar(let scalar) = node else {
      throw failure(node, "\(field): expected one word, found another shape")
    }
    return scalar.string
  }

  /// `keys:` with nothing behind it.
  private func isNull(_ node: Yams.Node) -> Bool {
    guard case .scalar(let scalar) = node else { return false }
    return scalar.style == .plain && ["", "~", "null"].contains(scalar.string)
  }

  private func failure(_ node: Yams.Node, _ message: String) -> BundleError {
    BundleError(.badTrustFile, "\(path)\(node.mark.map { ":\($0.line)" } ?? ""): \(message)")
  }
}

extension String {
  /// A message of another library, without its line breaks and drawings.
  fileprivate var singleLine: String {
    split(whereSeparator: { $0.isWhitespace }).joined(separator: " ")
  }
}
