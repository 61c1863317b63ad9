internal import NeedletailCore
internal import Yams

#if canImport(FoundationEssentials)
  internal import FoundationEssentials
#else
  internal import Foundation
#endif

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
/// An unknown word is an error, never ignored: a mistyped `model:` must not open every model.
public enum KeyFile {
  /// - Throws: a sentence that begins with the path and the line.
  public static func read(path: String) throws(KeyFileError) -> [Grant] {
    guard let bytes = try? Data(contentsOf: URL(fileURLWithPath: path)) else {
      throw KeyFileError("\(path): expected a readable file, found none")
    }
    guard bytes.count <= Limits.keyFileBytesMax else {
      throw KeyFileError("\(path): expected at most \(Limits.keyFileBytesMax) bytes, found \(bytes.count)")
    }
    guard let text = String(bytes: bytes, encoding: .utf8) else {
      throw KeyFileError("\(path): expected UTF-8 text, found other bytes")
    }
    return try parse(text, path: path)
  }

  /// - Parameter path: of the file, for messages.
  public static func parse(_ text: String, path: String) throws(KeyFileError) -> [Grant] {
    let root: Yams.Node?
    do {
      root = try Yams.compose(yaml: text)
    } catch {
      throw KeyFileError("\(path)\(place(of: error))")
    }
    // An empty file knows nobody.
    guard let root else { return [] }
    return try KeyFileReader(path: path).grants(root)
  }

  private static func place(of error: any Error) -> String {
    switch error as? YamlError {
    case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
      .composer(_, let problem, let mark, _):
      ":\(mark.line): expected YAML: \(problem)"
    case .duplicatedKeysInMapping(let duplicates, let context):
      ":\(context.mark.line): \(duplicates.joined(separator: ", ")): expected once, found twice"
    default: ": expected YAML, found something else"
    }
  }
}

/// Why a key file cannot be used: one sentence that names the line, what was expected and what was found.
public struct KeyFileError: Error, Equatable, Sendable, CustomStringConvertible {
  public let message: String

  init(_ message: String) { self.message = message }

  public var description: String { message }
}

/// Reads the nodes of a key file.
private struct KeyFileReader {
  let path: String

  private static let shared = ["name", "models", "calls", "state", "limits"]

  func grants(_ root: Yams.Node) throws(KeyFileError) -> [Grant] {
    var grants: [Grant] = []
    var names = Set<String>()
    var credentials = Set<String>()
    for (section, value) in try mapping(root, "key file", allowed: ["keys", "certificates"]) {
      for item in try sequence(value, section) {
        guard grants.count < Limits.keysMax else {
          throw failure(item, "\(section): expected at most \(Limits.keysMax) entries, found more")
        }
        let (grant, credential) = try self.grant(item, isKey: section == "keys")
        guard names.insert(grant.name).inserted else {
          throw failure(item, "name \(grant.name.quotedForMessage): expected once, found twice")
        }
        guard credentials.insert(credential).inserted else {
          throw failure(
            item, "\(grant.name.quotedForMessage): expected a credential of its own, found that of another entry")
        }
        grants.append(grant)
      }
    }
    return grants
  }

  private func grant(_ node: Yams.Node, isKey: Bool) throws(KeyFileError) -> (Grant, credential: String) {
    let credentialWord = isKey ? "hash" : "subject"
    let what = isKey ? "key" : "certificate"
    var name: String?
    var credential: (Grant.Credential, text: String)?
    var models = [NamePattern("*")]
    var calls = AccessCalls.reading
    var state = Grant.State.active
    var bounds = Grant.Bounds()
    for (word, value) in try mapping(node, what, allowed: Self.shared + [credentialWord]) {
      switch word {
      case "name": name = try self.name(value)
      case "hash": credential = try hash(value)
      case "subject": credential = try subject(value)
      case "models": models = try sequence(value, word).map { item throws(KeyFileError) in try pattern(item) }
      case "calls": calls = try self.calls(value)
      case "state": state = try self.state(value)
      default: bounds = try limits(value)
      }
    }
    guard let name else { throw failure(node, "\(what): expected a name, found none") }
    guard let credential else {
      throw failure(node, "\(what) \(name.quotedForMessage): expected a \(credentialWord), found none")
    }
    let grant = Grant(
      name: name, credential: credential.0, models: models, calls: calls, state: state, bounds: bounds)
    return (grant, credential.text)
  }

  private func name(_ node: Yams.Node) throws(KeyFileError) -> String {
    let word = try text(node, "name")
    do {
      // Names stand in log lines and metric labels, as those of models do.
      return try ModelID(word).name
    } catch {
      throw failure(node, error.message.replacing("model name", with: "name"))
    }
  }

  private func hash(_ node: Yams.Node) throws(KeyFileError) -> (Grant.Credential, text: String) {
    let word = try text(node, "hash")
    guard let digest = KeyDigest(text: word.lowercased()) else {
      // Not what was found: somebody may have pasted the key itself.
      throw failure(node, "hash: expected sha256: and 64 hexadecimal digits, found \(word.utf8.count) other bytes")
    }
    return (.key(digest), digest.description)
  }

  private func subject(_ node: Yams.Node) throws(KeyFileError) -> (Grant.Credential, text: String) {
    let word = try text(node, "subject")
    guard !word.isEmpty, word.utf8.count <= Limits.certificateNameBytesMax else {
      throw failure(
        node, "subject: expected 1 to \(Limits.certificateNameBytesMax) bytes, found \(word.utf8.count)")
    }
    return (.certificate(subject: word), word)
  }

  private func pattern(_ node: Yams.Node) throws(KeyFileError) -> NamePattern {
    let word = try text(node, "model")
    guard !word.isEmpty, word.utf8.count <= Limits.modelNameBytesMax else {
      throw failure(node, "model: expected 1 to \(Limits.modelNameBytesMax) bytes, found \(word.utf8.count)")
    }
    return NamePattern(word)
  }

  private func calls(_ node: Yams.Node) throws(KeyFileError) -> AccessCalls {
    let names = AccessCalls.names.map(\.name)
    var calls: AccessCalls = []
    for item in try sequence(node, "calls") {
      let word = try text(item, "call")
      if word == "*" {
        calls.formUnion(.all)
      } else if let call = AccessCalls(name: word) {
        calls.formUnion(call)
      } else {
        throw unknown(item, "call", word, names)
      }
    }
    return calls
  }

  private func state(_ node: Yams.Node) throws(KeyFileError) -> Grant.State {
    let word = try text(node, "state")
    guard let state = Grant.State(rawValue: word) else {
      throw unknown(node, "state", word, Grant.State.allCases.map(\.rawValue))
    }
    return state
  }

  private func limits(_ node: Yams.Node) throws(KeyFileError) -> Grant.Bounds {
    var bounds = Grant.Bounds()
    let words = ["requests_per_second", "rows_per_second", "in_flight"]
    for (word, value) in try mapping(node, "limits", allowed: words) {
      let text = try text(value, word)
      guard let number = Int(text.filter { $0 != "_" }), (1...Limits.keyRateMax).contains(number) else {
        throw failure(
          value, "\(word): expected an integer from 1 to \(Limits.keyRateMax), found \(text.quotedForMessage)")
      }
      switch word {
      case "requests_per_second": bounds.requestsPerSecond = number
      case "rows_per_second": bounds.rowsPerSecond = number
      default: bounds.inFlightMax = number
      }
    }
    return bounds
  }

  // MARK: shapes

  private func mapping(
    _ node: Yams.Node, _ field: String, allowed: [String]
  ) throws(KeyFileError) -> [(word: String, value: Yams.Node)] {
    if isNull(node) { return [] }
    guard case .mapping(let mapping) = node else {
      throw failure(node, "\(field): expected a mapping, found another shape")
    }
    var entries: [(word: String, value: Yams.Node)] = []
    for (keyNode, value) in mapping {
      let word = try text(keyNode, field)
      guard allowed.contains(word) else { throw unknown(keyNode, field, word, allowed) }
      entries.append((word, value))
    }
    return entries
  }

  private func sequence(_ node: Yams.Node, _ field: String) throws(KeyFileError) -> [Yams.Node] {
    if isNull(node) { return [] }
    guard case .sequence(let sequence) = node else {
      throw failure(node, "\(field): expected a list, found another shape")
    }
    return Array(sequence)
  }

  private func text(_ node: Yams.Node, _ field: String) throws(KeyFileError) -> String {
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

  private func unknown(_ node: Yams.Node, _ field: String, _ word: String, _ known: [String]) -> KeyFileError {
    failure(
      node,
      "\(field): expected one of \(known.joined(separator: ", ")), found \(word.quotedForMessage)\(Suggestion.clause(for: word, among: known))"
    )
  }

  private func failure(_ node: Yams.Node, _ message: String) -> KeyFileError {
    KeyFileError("\(path)\(node.mark.map { ":\($0.line)" } ?? ""): \(message)")
  }
}
