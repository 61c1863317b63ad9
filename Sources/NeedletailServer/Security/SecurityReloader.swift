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
    if let tls {
      metrics.sampled(
        "needletail_tls_certificate_not_after_seconds", kind: .gauge,
        help: "Unix time at which the server's certificate ends."
      ) { Double(tls.notAfter) }
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
        look()
      }
    }
  }

  private func look() {
    switch tls?.reload() {
    case .success?:
      tlsLoaded.add()
      logger.info("certificate reloaded", metadata: ["not_after": "\(Self.date(tls?.notAfter ?? 0))"])
    case .failure(let error)?:
      tlsRefused.add()
      logger.warning("certificate not reloaded, the one before stays", metadata: ["error": "\(error)"])
    case nil: break
    }
    switch keys?.reload() {
    case .success(let ring)?:
      onKeys(ring)
      keysLoaded.add()
      logger.info("keys reloaded", metadata: ["keys": "\(ring.grants.count)"])
    case .failure(let error)?:
      keysRefused.add()
      logger.warning("keys not reloaded, those before stay", metadata: ["error": "\(error)"])
    case nil: break
    }
  }

  static func date(_ unixSeconds: Int) -> String {
    Date(timeIntervalSince1970: Double(unixSeconds)).formatted(.iso8601)
  }
}
