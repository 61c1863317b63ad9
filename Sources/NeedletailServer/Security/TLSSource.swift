internal import Glibc
internal import NeedletailModels
internal import NeedletailSystem
internal import NeedletailTLS
internal import Synchronization

/// Where the certificate of a server lies.
public struct TLSFiles: Equatable, Sendable {
  /// PEM file: the server's own certificate first, then those between it and the root.
  public var certificate: String
  /// PEM file of the certificate's private key.
  public var key: String
  /// PEM file of the CAs that must have issued the certificate which a client shows; nil: clients show none.
  public var clientCA: String?

  public init(certificate: String, key: String, clientCA: String? = nil) {
    self.certificate = certificate
    self.key = key
    self.clientCA = clientCA
  }

  var paths: [String] { [certificate, key] + (clientCA.map { [$0] } ?? []) }
}

/// The certificate of a server: read at the start and when its files change. New connections use the latest.
final class TLSSource: Sendable {
  private struct State {
    var context: TLSContext
    var notAfter: Int
    /// Fingerprints of the files when they were last read, whether they were good or not.
    var seen: [FileFingerprint.Kind]
  }

  let files: TLSFiles
  private let state: Mutex<State>

  /// - Throws: the setting whose file cannot be used.
  init(_ files: TLSFiles) throws(ConfigurationError) {
    self.files = files
    // Taken before reading: a change in between is then seen as one.
    let seen = files.paths.map(FileFingerprint.of)
    let (context, notAfter) = try Self.load(files)
    state = Mutex(State(context: context, notAfter: notAfter, seen: seen))
  }

  /// The context of the next connection; connections that exist keep theirs.
  var context: TLSContext { state.withLock { $0.context } }

  /// Time at which the certificate ends, in Unix seconds.
  var notAfter: Int { state.withLock { $0.notAfter } }

  /// Reads the files if one has changed, symbolic links followed: a ConfigMap or Secret is swapped by
  /// its link. What cannot be used, an expired certificate and one whose key has not come yet
  /// included, changes nothing, and is tried again with the next change.
  /// - Returns: nil if nothing has changed.
  func reload() -> Result<Void, ConfigurationError>? {
    let now = files.paths.map(FileFingerprint.of)
    let hasChanged = state.withLock { state in
      defer { state.seen = now }
      return state.seen != now
    }
    guard hasChanged else { return nil }
    do throws(ConfigurationError) {
      let (context, notAfter) = try Self.load(files)
      guard notAfter > Self.unixSeconds else {
        throw ConfigurationError(
          "tls_certificate \(files.certificate): expected a valid certificate, found an expired one")
      }
      state.withLock { state in
        state.context = context
        state.notAfter = notAfter
      }
      return .success(())
    } catch {
      return .failure(error)
    }
  }

  static var unixSeconds: Int { time(nil) }

  private static func load(_ files: TLSFiles) throws(ConfigurationError) -> (TLSContext, notAfter: Int) {
    let chain = try certificates(files.certificate, "tls_certificate")
    guard let key = TLSPrivateKey.read(path: files.key) else {
      throw ConfigurationError("tls_key \(files.key): expected a readable private key (PEM), found none")
    }
    let clientRoots = try files.clientCA.map { path throws(ConfigurationError) in
      try certificates(path, "tls_client_ca")
    }
    do throws(TLSError) {
      return (try TLSContext(server: .init(chain: chain, key: key), clientRoots: clientRoots), chain[0].notAfter)
    } catch {
      throw ConfigurationError(
        "tls_key \(files.key): expected the private key of \(files.certificate), found another: \(error)")
    }
  }

  private static func certificates(_ path: String, _ setting: String) throws(ConfigurationError) -> [TLSCertificate] {
    guard let found = TLSCertificate.read(path: path) else {
      throw ConfigurationError("\(setting) \(path): expected readable certificates (PEM), found none")
    }
    return found
  }
}
