internal import Glibc
internal import NeedletailCore
internal import NeedletailSystem
internal import Synchronization

/// Name and secret by which an object store knows who asks.
struct Credentials: Equatable, Sendable {
  var keyID: String
  var secret: String
  /// Token of temporary credentials; nil: they are lasting.
  var token: String?
  /// Unix time at which they end; nil: unknown or never.
  var expiresSeconds: Int?

  init(keyID: String, secret: String, token: String? = nil, expiresSeconds: Int? = nil) {
    self.keyID = keyID
    self.secret = secret
    self.token = token
    self.expiresSeconds = expiresSeconds
  }
}

/// Finds credentials where AWS's own programs look: the environment, then the shared credentials file, then, if asked
/// to, the machine's metadata service.
///
/// The file is read again for each request, so that a rotated secret counts at once. Any number of threads may ask.
final class CredentialsSource: Sendable {
  private let environment: [String: String]
  private let profile: String
  private let metadata: InstanceMetadata?
  private let kept = Mutex<Credentials?>(nil)

  private static let fileBytesMax = 256 << 10
  /// Temporary credentials are replaced so long before they end.
  private static let renewalSeconds = 300

  /// - Throws: `.configuration` if the address of the metadata service is none.
  init(environment: [String: String], profile: String, asksInstanceMetadata: Bool) throws(ObjectStoreError) {
    self.environment = environment
    self.profile = profile
    metadata = asksInstanceMetadata ? try InstanceMetadata(environment: environment) : nil
  }

  /// - Throws: `.denied` that names the places where none were found, or the fault of the metadata service.
  func credentials() throws(ObjectStoreError) -> Credentials {
    func variable(_ name: String) -> String? { environment[name].flatMap { $0.isEmpty ? nil : $0 } }
    if let keyID = variable("AWS_ACCESS_KEY_ID"), let secret = variable("AWS_SECRET_ACCESS_KEY") {
      return try Self.checked(Credentials(keyID: keyID, secret: secret, token: variable("AWS_SESSION_TOKEN")), "AWS_…")
    }
    let path = variable("AWS_SHARED_CREDENTIALS_FILE") ?? variable("HOME").map { "\($0)/.aws/credentials" }
    if let path, let found = try Self.credentials(path: path, profile: profile) { return found }
    guard let metadata else {
      throw ObjectStoreError(
        .denied,
        "credentials: expected AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or section [\(profile)] of "
          + "\(path ?? "~/.aws/credentials"), found neither; instance_metadata=on asks the machine's metadata service")
    }
    let now = Int(UnixTime.nowMilliseconds() / 1000)
    let fresh = kept.withLock { $0.flatMap { ($0.expiresSeconds ?? .max) - Self.renewalSeconds > now ? $0 : nil } }
    if let fresh { return fresh }
    do throws(ObjectStoreError) {
      let found = try Self.checked(try metadata.credentials(), "instance metadata")
      kept.withLock { $0 = found }
      return found
    } catch {
      // The last ones may still count for some minutes.
      guard let last = kept.withLock({ $0 }), (last.expiresSeconds ?? .max) > now else { throw error }
      return last
    }
  }

  /// Forgets what the metadata service said: the store has refused it.
  func forget() { kept.withLock { $0 = nil } }

  /// Reads one section of a shared credentials file.
  ///
  /// - Returns: nil where there is no file, or no such section with a key.
  /// - Throws: `.denied` for a file that cannot be read or understood.
  static func credentials(path: String, profile: String) throws(ObjectStoreError) -> Credentials? {
    let read: String?
    do throws(FileReadError) {
      read = try WholeFile.text(path, bytesMax: fileBytesMax)
    } catch {
      guard case .missing = error else {
        throw ObjectStoreError(.denied, "\(path): expected a credentials file that can be read, found: \(error)")
      }
      return nil
    }
    guard let text = read else {
      throw ObjectStoreError(.denied, "\(path): expected UTF-8 text, found other bytes")
    }
    var values: [String: String] = [:]
    var isInSection = false
    for line in text.split(whereSeparator: \.isNewline) {
      let line = line.trimmingBlanks
      if line.isEmpty || line.hasPrefix("#") || line.hasPrefix(";") { continue }
      if line.hasPrefix("["), line.hasSuffix("]") {
        isInSection = line.dropFirst().dropLast().trimmingBlanks == profile
      } else if isInSection, let equals = line.firstIndex(of: "=") {
        values[line[..<equals].trimmingBlanks.lowercased()] = line[line.index(after: equals)...].trimmingBlanks
      }
    }
    guard let keyID = values["aws_access_key_id"], let secret = values["aws_secret_access_key"] else { return nil }
    return try checked(
      Credentials(keyID: keyID, secret: secret, token: values["aws_session_token"]), "\(path) [\(profile)]")
  }

  /// Keeps bytes out of the fields of a request that would end one.
  private static func checked(_ found: Credentials, _ place: String) throws(ObjectStoreError) -> Credentials {
    for text in [found.keyID, found.secret, found.token ?? ""] {
      guard text.utf8.count <= 16 << 10, text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
        throw ObjectStoreError(.denied, "\(place): expected credentials of printable ASCII, found other bytes")
      }
    }
    return found
  }
}
