internal import FoundationEssentials
internal import NeedletailCore
internal import NeedletailCrypto
public import NeedletailYAML
internal import Synchronization

/// Reads a key file:
/// ```yaml
/// keys:
///   - name: checkout
///     hash: sha256:…                 # of the key, as `needletail key generate` prints it
///     models: ["wine", "fraud-*"]    # absent: all
///     calls: [predict, health]       # absent: all but rollout and feedback
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

/// All grants of one key file, immutable. A reload makes a new ring.
public final class KeyRing: Sendable {
  /// Number that distinguishes this ring from all others; never 0, which stands for "no ring".
  public let generation: UInt64
  public let grants: [Grant]
  private let digests: [(digest: KeyDigest, index: Int)]
  private let subjects: [String: Int]

  private static let generations = Atomic<UInt64>(0)

  /// - Parameter previous: Ring whose usage is carried over to grants of the same name.
  public init(_ grants: [Grant], continuing previous: KeyRing? = nil) {
    generation = Self.generations.wrappingAdd(1, ordering: .relaxed).newValue
    let used = Dictionary(
      (previous?.grants ?? []).map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    self.grants = grants.map { $0.continuing(used[$0.name]) }
    var digests: [(KeyDigest, Int)] = []
    var subjects: [String: Int] = [:]
    for (index, grant) in grants.enumerated() {
      switch grant.credential {
      case .key(let digest): digests.append((digest, index))
      case .certificate(let subject): subjects[subject] = index
      }
    }
    self.digests = digests
    self.subjects = subjects
  }

  /// Finds the grant of a key, revoked ones included. Compares every key of the ring, so that the time of a
  /// look-up says nothing about the key.
  /// - Complexity: O(keys), 3 ns each.
  public func grant(of digest: KeyDigest) -> Grant? {
    var found = -1
    for entry in digests where entry.digest.isSame(as: digest) { found = entry.index }
    return found < 0 ? nil : grants[found]
  }

  /// Finds the grant of a certificate with these names; of several known names the first one counts.
  public func grant(ofCertificate names: [String]) -> Grant? {
    for name in names {
      if let index = subjects[name] { return grants[index] }
    }
    return nil
  }
}

/// A secret that a client presents: `ntk_` and 43 characters with 256 random bits from the system.
///
/// Servers store only its ``KeyDigest``. A slow hash would add nothing: slow hashes protect passwords, which people
/// choose and attackers can guess, while 2^256 keys cannot be tried at any speed.
public struct APIKey: Sendable {
  /// Prefix by which secret scanners recognise keys in places where they should not be.
  public static let prefix = "ntk_"

  /// The key as text, printed once for its owner.
  public let text: String

  /// Makes a new random key.
  public init() {
    let random = Data(CryptoLibrary.randomBytes(32))
    // Unpadded base64 for URLs needs no quotes in a shell, a header or a YAML file.
    let encoded = random.base64EncodedString().replacing("+", with: "-").replacing("/", with: "_")
    text = Self.prefix + encoded.replacing("=", with: "")
  }

  public var digest: KeyDigest {
    var text = text
    return text.withUTF8 { KeyDigest(of: UnsafeRawBufferPointer($0)) }
  }
}

/// SHA-256 of a key, the only form in which a server stores it.
public struct KeyDigest: Sendable, CustomStringConvertible {
  private static let prefix = "sha256:"

  private let words: (UInt64, UInt64, UInt64, UInt64)

  public init(of key: UnsafeRawBufferPointer) {
    words = SHA256.hash(key).withUnsafeBytes { $0.loadUnaligned(as: (UInt64, UInt64, UInt64, UInt64).self) }
  }

  /// Parses the text that ``description`` writes.
  public init?(text: String) {
    let digits = Array(text.utf8.dropFirst(Self.prefix.utf8.count))
    guard text.hasPrefix(Self.prefix), digits.count == 64 else { return nil }
    var bytes: [UInt8] = []
    for position in stride(from: 0, to: 64, by: 2) {
      guard let high = Self.value(of: digits[position]), let low = Self.value(of: digits[position + 1]) else {
        return nil
      }
      bytes.append(high << 4 | low)
    }
    words = bytes.withUnsafeBytes { $0.loadUnaligned(as: (UInt64, UInt64, UInt64, UInt64).self) }
  }

  private static func value(of digit: UInt8) -> UInt8? {
    switch digit {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
    default: nil
    }
  }

  /// `sha256:` and 64 lower-case digits.
  public var description: String {
    withUnsafeBytes(of: words) { Self.prefix + Hex.text($0) }
  }

  /// Compares in the same time wherever the two differ.
  public func isSame(as other: KeyDigest) -> Bool {
    (words.0 ^ other.words.0) | (words.1 ^ other.words.1) | (words.2 ^ other.words.2) | (words.3 ^ other.words.3) == 0
  }
}
