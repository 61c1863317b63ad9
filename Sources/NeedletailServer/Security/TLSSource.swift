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
  /// PEM file of the revocation lists of those CAs; nil: no certificate of a client is revoked.
  public var clientCRL: String?

  public init(certificate: String, key: String, clientCA: String? = nil, clientCRL: String? = nil) {
    self.certificate = certificate
    self.key = key
    self.clientCA = clientCA
    self.clientCRL = clientCRL
  }

  var paths: [String] { [certificate, key] + [clientCA, clientCRL].compactMap { $0 } }
}

/// The certificate of a server: read at the start and when its files change. New connections use the latest.
final class TLSSource: Sendable {
  /// The result of one reading of the files.
  private struct Loaded {
    let context: TLSContext
    /// End of the server's certificate, in Unix seconds.
    let notAfter: Int
    /// End of the first client CA to end; nil without one.
    let clientCANotAfter: Int?
  }

  private struct State {
    var loaded: Loaded
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
    state = Mutex(State(loaded: try Self.load(files), seen: seen))
  }

  /// The context of the next connection; connections that exist keep theirs.
  var context: TLSContext { state.withLock { $0.loaded.context } }

  /// Time at which the certificate ends, in Unix seconds.
  var notAfter: Int { state.withLock { $0.loaded.notAfter } }

  /// Time at which the first of the client CA's certificates ends, in Unix seconds; nil without a client CA.
  var clientCANotAfter: Int? { state.withLock { $0.loaded.clientCANotAfter } }

  /// Reads the files if one has changed, symbolic links followed: a ConfigMap or Secret is swapped by
  /// its link. What cannot be used, an expired certificate and one whose key has not come yet
  /// included, changes nothing, and is tried again with the next change.
  /// - Parameter unchangedToo: whether the files are read in any case.
  /// - Returns: nil if the files were not read.
  func reload(unchangedToo: Bool = false) -> Result<Void, ConfigurationError>? {
    let now = files.paths.map(FileFingerprint.of)
    let hasChanged = state.withLock { state in
      defer { state.seen = now }
      return state.seen != now
    }
    guard hasChanged || unchangedToo else { return nil }
    do throws(ConfigurationError) {
      let loaded = try Self.load(files)
      state.withLock { $0.loaded = loaded }
      return .success(())
    } catch {
      return .failure(error)
    }
  }

  static var unixSeconds: Int { time(nil) }

  private static func load(_ files: TLSFiles) throws(ConfigurationError) -> Loaded {
    let chain = try certificates(files.certificate, "tls_certificate")
    // Every client would refuse it.
    guard chain[0].notAfter > unixSeconds else {
      throw ConfigurationError(
        "tls_certificate \(files.certificate): expected a valid certificate, found an expired one")
    }
    guard let key = TLSPrivateKey.read(path: files.key) else {
      throw ConfigurationError("tls_key \(files.key): expected a readable private key (PEM), found none")
    }
    let clientRoots = try files.clientCA.map { path throws(ConfigurationError) in
      try certificates(path, "tls_client_ca")
    }
    let revocations = try files.clientCRL.map { path throws(ConfigurationError) in
      guard let lists = TLSRevocationList.read(path: path) else {
        throw ConfigurationError("tls_client_crl \(path): expected readable revocation lists (PEM), found none")
      }
      return lists
    }
    do throws(TLSError) {
      return Loaded(
        context: try TLSContext(
          server: .init(chain: chain, key: key), clientRoots: clientRoots, revocations: revocations ?? []),
        notAfter: chain[0].notAfter, clientCANotAfter: clientRoots?.lazy.map(\.notAfter).min())
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
