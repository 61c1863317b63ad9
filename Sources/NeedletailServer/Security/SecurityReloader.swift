internal import FoundationEssentials
internal import Logging
internal import NeedletailMetrics
internal import NeedletailSecurity
internal import ServiceLifecycle

/// The service that reloads certificates and keys when their files change.
///
/// It calls `stat` for each file once per interval instead of using inotify: Kubernetes swaps the links above these
/// files, and all ways of replacing a file have in common only that another file is there afterwards.
struct SecurityReloader: Service {
  let tls: TLSSource?
  let keys: KeySource?
  let interval: Duration
  let logger: Logger
  /// Called with every new ring.
  let onKeys: @Sendable (KeyRing) -> Void
  private let tlsLoaded: Counter
  private let tlsRefused: Counter
  private let keysLoaded: Counter
  private let keysRefused: Counter
  private let tlsInvalid: Gauge?
  private let keysInvalid: Gauge?

  init(
    tls: TLSSource?, keys: KeySource?, interval: Duration, metrics: MetricsRegistry, logger: Logger,
    onKeys: @escaping @Sendable (KeyRing) -> Void
  ) {
    self.tls = tls
    self.keys = keys
    self.interval = interval
    self.logger = logger
    self.onKeys = onKeys
    func reloads(_ what: String, _ help: String, _ outcome: String) -> Counter {
      metrics.counter("needletail_\(what)_reloads_total", help: help, labels: [("outcome", outcome)])
    }
    let tlsHelp = "Changed certificates, by whether they are in use now."
    let keysHelp = "Changed key files, by whether they are in use now."
    tlsLoaded = reloads("tls", tlsHelp, "loaded")
    tlsRefused = reloads("tls", tlsHelp, "refused")
    keysLoaded = reloads("api_key", keysHelp, "loaded")
    keysRefused = reloads("api_key", keysHelp, "refused")
    tlsInvalid = tls.map { _ in
      metrics.gauge(
        "needletail_tls_files_invalid", help: "1 while the certificate or key on the disk cannot be used.")
    }
    keysInvalid = keys.map { _ in
      metrics.gauge("needletail_api_key_file_invalid", help: "1 while the key file on the disk cannot be used.")
    }
    if let tls {
      metrics.sampled(
        "needletail_tls_certificate_not_after_seconds", kind: .gauge,
        help: "Unix time at which the server's certificate ends."
      ) { Double(tls.notAfter) }
      if tls.files.clientCA != nil {
        metrics.sampled(
          "needletail_tls_client_ca_not_after_seconds", kind: .gauge,
          help: "Unix time at which the first of the client CA's certificates ends."
        ) { Double(tls.clientCANotAfter ?? 0) }
      }
    }
    if let keys {
      metrics.sampled("needletail_api_keys", kind: .gauge, help: "Keys and certificates that may call.") {
        Double(keys.ring.grants.count { $0.state == .active })
      }
    }
  }

  func run() async throws {
    try? await cancelWhenGracefulShutdown {
      while true {
        try await Task.sleep(for: interval)
        look(unchangedToo: false)
      }
    }
  }

  /// Reads certificates and keys, if their files have changed or where `unchangedToo` asks for it.
  func look(unchangedToo: Bool) {
    switch tls?.reload(unchangedToo: unchangedToo) {
    case .success?:
      tlsLoaded.add()
      tlsInvalid?.set(0)
      logger.info("certificate reloaded", metadata: ["not_after": "\(Self.date(tls?.notAfter ?? 0))"])
    case .failure(let error)?:
      tlsRefused.add()
      tlsInvalid?.set(1)
      logger.warning("certificate not reloaded, the one before stays", metadata: ["error": "\(error)"])
    case nil: break
    }
    switch keys?.reload(unchangedToo: unchangedToo) {
    case .success(let ring)?:
      onKeys(ring)
      keysLoaded.add()
      keysInvalid?.set(0)
      logger.info("keys reloaded", metadata: ["keys": .stringConvertible(ring.grants.count)])
    case .failure(let error)?:
      keysRefused.add()
      keysInvalid?.set(1)
      logger.warning("keys not reloaded, those before stay", metadata: ["error": "\(error)"])
    case nil: break
    }
  }

  static func date(_ unixSeconds: Int) -> String {
    Date(timeIntervalSince1970: Double(unixSeconds)).formatted(.iso8601)
  }
}
