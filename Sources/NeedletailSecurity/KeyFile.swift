internal import FoundationEssentials
internal import NeedletailCore
public import NeedletailYAML

/// Reads a key file:
/// ```yaml
/// keys:
///   - name: checkout
///     hash: sha256:…                 # of the key, as `needletail key generate` prints it
///     models: ["wine", "fraud-*"]    # absent: all
///     calls: [predict, health]       # absent: all but rollout
///     state: active                  # or revoked
///     limits: {requests_per_second: 1000, rows_per_second: 50000, in_flight: 64}
/// certificates:                      # with mTLS: by a DNS or URI name of the client's certificate
///   - name: billing
///     subject: billing.internal
/// ```
/// An unknown word is an error and never ignored, since a mistyped `model:` would otherwise allow every model.
public enum KeyFile {
  /// - Throws: A ``YAMLError`` that names the file, the line, what was expected and what was found.
  public static func read(path: String) throws(YAMLError) -> [Grant] {
    let file = YAMLPlace(path)
    guard let bytes = try? Data(contentsOf: URL(fileURLWithPath: path)) else {
      throw YAMLError(file, expected: "a readable file", found: "none")
    }
    guard bytes.count <= Limits.keyFileBytesMax else {
      throw YAMLError(file, expected: "at most \(Limits.keyFileBytesMax) bytes", found: "\(bytes.count)")
    }
    guard let text = String(bytes: bytes, encoding: .utf8) else {
      throw YAMLError(file, expected: "UTF-8 text", found: "other bytes")
    }
    return try parse(text, path: path)
  }

  /// Parses the text of a key file. An empty file has no keys.
  /// - Parameter path: Path of the file, for messages.
  public static func parse(_ text: String, path: String) throws(YAMLError) -> [Grant] {
    var grants: [Grant] = []
    var names = Set<String>()
    var credentials = Set<String>()
    for section in try YAMLNode.parse(text, file: path).entries(known: ["keys", "certificates"]) {
      for node in try section.value.elements() {
        guard grants.count < Limits.keysMax else {
          throw section.value.wrong(expected: "at most \(Limits.keysMax) entries", found: "more")
        }
        let entry = try KeyFileEntry(node, isKey: section.word == "keys")
        guard names.insert(entry.grant.name).inserted else {
          throw node.wrong(expected: "every name once", found: "\(entry.grant.name.quotedForMessage) twice")
        }
        guard credentials.insert(entry.credentialText).inserted else {
          throw node.wrong(
            expected: "for \(entry.grant.name.quotedForMessage) a credential of its own",
            found: "that of another entry")
        }
        grants.append(entry.grant)
      }
    }
    return grants
  }
}

/// One entry of a key file.
private struct KeyFileEntry {
  let grant: Grant
  /// The credential in canonical form, by which duplicates are found.
  let credentialText: String

  init(_ node: YAMLNode, isKey: Bool) throws(YAMLError) {
    let credentialWord = isKey ? "hash" : "subject"
    var name: String?
    var credential: (Grant.Credential, text: String)?
    var models = [NamePattern("*")]
    var calls = AccessCalls.reading
    var state = Grant.State.active
    var bounds = Grant.Bounds()
    for entry in try node.entries(known: ["name", credentialWord, "models", "calls", "state", "limits"]) {
      switch entry.word {
      case "name": name = try Self.name(entry.value)
      case "hash": credential = try Self.hash(entry.value)
      case "subject": credential = try Self.subject(entry.value)
      case "models":
        models = try entry.value.elements().map { node throws(YAMLError) in try Self.pattern(node) }
      case "calls": calls = try Self.calls(entry.value)
      case "state": state = try entry.value.choice()
      default: bounds = try Self.limits(entry.value)
      }
    }
    guard let name else { throw node.wrong(expected: "a name", found: "none") }
    guard let credential else {
      throw node.wrong(expected: "for \(name.quotedForMessage) a \(credentialWord)", found: "none")
    }
    grant = Grant(name: name, credential: credential.0, models: models, calls: calls, state: state, bounds: bounds)
    credentialText = credential.text
  }

  private static func name(_ node: YAMLNode) throws(YAMLError) -> String {
    let word = try node.text()
    // Names appear in log lines and metric labels, so they follow the rules for names of models.
    guard let id = try? ModelID(word) else {
      throw node.wrong(
        expected:
          "up to \(Limits.modelNameBytesMax) letters, digits, '.', '_', '-', starting with a letter or digit")
    }
    return id.name
  }

  private static func hash(_ node: YAMLNode) throws(YAMLError) -> (Grant.Credential, text: String) {
    let word = try node.text()
    guard let digest = KeyDigest(text: word.lowercased()) else {
      // The message does not quote the value, which may be the key itself.
      throw node.wrong(
        expected: "sha256: and 64 hexadecimal digits", found: "\(word.utf8.count) other bytes")
    }
    return (.key(digest), digest.description)
  }

  private static func subject(_ node: YAMLNode) throws(YAMLError) -> (Grant.Credential, text: String) {
    let word = try boundedText(node, bytesMax: Limits.certificateNameBytesMax)
    return (.certificate(subject: word), word)
  }

  private static func pattern(_ node: YAMLNode) throws(YAMLError) -> NamePattern {
    NamePattern(try boundedText(node, bytesMax: Limits.modelNameBytesMax))
  }

  private static func boundedText(_ node: YAMLNode, bytesMax: Int) throws(YAMLError) -> String {
    let word = try node.text()
    guard (1...bytesMax).contains(word.utf8.count) else {
      throw node.wrong(expected: "1 to \(bytesMax) bytes", found: "\(word.utf8.count)")
    }
    return word
  }

  private static func calls(_ node: YAMLNode) throws(YAMLError) -> AccessCalls {
    var calls: AccessCalls = []
    for item in try node.elements() {
      let word = try item.text()
      if word == "*" {
        calls.formUnion(.all)
      } else if let call = AccessCalls(name: word) {
        calls.formUnion(call)
      } else {
        throw item.wrong(among: AccessCalls.names.map(\.name))
      }
    }
    return calls
  }

  private static func limits(_ node: YAMLNode) throws(YAMLError) -> Grant.Bounds {
    var bounds = Grant.Bounds()
    for entry in try node.entries(known: ["requests_per_second", "rows_per_second", "in_flight"]) {
      guard let number = Int(try entry.value.text().filter { $0 != "_" }), (1...Limits.keyRateMax).contains(number)
      else { throw entry.value.wrong(expected: "an integer from 1 to \(Limits.keyRateMax)") }
      switch entry.word {
      case "requests_per_second": bounds.requestsPerSecond = number
      case "rows_per_second": bounds.rowsPerSecond = number
      default: bounds.inFlightMax = number
      }
    }
    return bounds
  }
}
