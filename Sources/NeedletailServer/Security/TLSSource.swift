internal import NIOSSL
internal import NeedletailModels
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// The certificate of a server, and what connections that are made now are met with.
final class TLSSource: Sendable {
  private struct State {
    var context: NIOSSLContext
    var notAfter: Int
    /// What the files were when they were last read, whether well or not.
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

  /// For the next connection; those that stand keep theirs.
  var context: NIOSSLContext { state.withLock { $0.context } }

  /// When the certificate ends, in Unix seconds.
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

  private static func load(_ files: TLSFiles) throws(ConfigurationError) -> (NIOSSLContext, notAfter: Int) {
    let chain = try certificates(files.certificate, "tls_certificate")
    let key: NIOSSLPrivateKey
    do {
      key = try NIOSSLPrivateKey(file: files.key, format: .pem)
    } catch {
      throw ConfigurationError("tls_key \(files.key): expected a readable private key (PEM), found none")
    }
    var configuration = TLSConfiguration.makeServerConfiguration(
      certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key))
    configuration.minimumTLSVersion = .tlsv12
    // For TLS 1.2: forward secrecy and authenticated encryption only. TLS 1.3 has nothing else.
    configuration.cipherSuiteValues = [
      .TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, .TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
      .TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, .TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
      .TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, .TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ]
    if let clientCA = files.clientCA {
      configuration.trustRoots = .certificates(try certificates(clientCA, "tls_client_ca"))
      // Which names are good is for the key file to say.
      configuration.certificateVerification = .noHostnameVerification
    }
    do {
      let context = try NIOSSLContext(configuration: configuration)
      return (context, chain[0].notValidAfter)
    } catch {
      throw ConfigurationError(
        "tls_key \(files.key): expected the private key of \(files.certificate), found another: \(TLSFailure.reason(of: error))"
      )
    }
  }

  private static func certificates(_ path: String, _ setting: String) throws(ConfigurationError) -> [NIOSSLCertificate]
  {
    let found = (try? NIOSSLCertificate.fromPEMFile(path)) ?? []
    guard !found.isEmpty else {
      throw ConfigurationError("\(setting) \(path): expected readable certificates (PEM), found none")
    }
    return found
  }
}
