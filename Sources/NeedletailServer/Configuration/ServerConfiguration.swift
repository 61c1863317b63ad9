public import Logging
internal import NeedletailCore
public import NeedletailEngine
public import NeedletailModels
public import NeedletailServing

/// The configuration of the server, read and checked.
public struct ServerConfiguration: Sendable {
  public enum LogFormat: String, Sendable { case text, json }

  /// Bounds on one connection and on all of them.
  public struct ConnectionLimits: Sendable {
    public var frameBytesMax = Limits.frameBytesMaxDefault
    public var connectionsMax = Limits.connectionsMaxDefault
    public var callsInFlightMax = Limits.callsInFlightMaxDefault
    public var outputBytesMax = Limits.outputBytesMaxDefault
    public var outputBytesTotalMax = Limits.outputBytesTotalMaxDefault
    public var idle: Duration = .seconds(Limits.idleSecondsDefault)
    public var frame: Duration = .seconds(Limits.frameSecondsDefault)
    public var stall: Duration = .seconds(Limits.stallSecondsDefault)
    public var handshake: Duration = .seconds(Limits.handshakeSecondsDefault)
    /// Time after GoAway for a client to close its connection by itself.
    public var linger: Duration = .milliseconds(Limits.lingerMilliseconds)
    public var batchRowsMax = Limits.batchRowsMaxDefault

    public init() {}
  }

  /// Threads that compute calls, and bounds of waiting.
  public struct ServingOptions: Sendable {
    /// Threads for plans too expensive for a loop; 0: as many as the process may use processors.
    public var workers = 0
    /// Cost up to which a call is computed on its event loop.
    public var inlineCost: Duration = .nanoseconds(Int64(Limits.inlineNanosecondsMaxDefault))
    /// Time that a call may wait at the workers for others to share its batch.
    public var queueDelay: Duration = .zero
    /// Work that a loop accepts in one wake-up; if it stays above, calls are rejected.
    public var tickTarget: Duration = .nanoseconds(Int64(Limits.tickNanosecondsTargetDefault))
    /// Time for which an idle loop looks for calls before it waits for them; 0: it waits at once.
    public var spin: Duration = .zero

    public init() {}
  }

  /// A directory, or `s3://BUCKET/PREFIX`.
  public var store: String
  /// Directory for copies of a bucket's bundles; nil: below the state directory.
  public var storeCache: String?
  public var storeCacheBytesMax = Limits.storeCacheBytesMaxDefault
  /// Directory of the server's own state; nil: the state ends with the process.
  public var stateDirectory: String?
  /// Address for calls over TCP; nil: none.
  public var listen: ListenAddress? = ListenAddress(host: "127.0.0.1", port: 6470)
  /// Address of calls by the Open Inference Protocol; nil: there is none.
  public var http: ListenAddress?
  public var unix: String?
  /// Permissions of the Unix socket; nil: those that the umask leaves.
  public var unixMode: UInt32?
  /// Address of admin HTTP; nil: none.
  public var admin: ListenAddress? = ListenAddress(host: "127.0.0.1", port: 6471)
  /// Connections to the admin port at a time.
  public var adminConnectionsMax = Limits.adminConnectionsMax
  /// Whether admin HTTP is encrypted with the certificates of `tls`.
  public var adminTLS = false
  /// Certificates; nil: calls are not encrypted.
  public var tls: TLSFiles?
  /// Path of the key file; nil: everybody may call.
  public var apiKeys: String?
  /// Time between two looks at certificates and keys for changes.
  public var reload: Duration = .milliseconds(Limits.reloadMillisecondsDefault)
  /// Path of the trust file; nil where unsigned bundles are allowed.
  public var trust: String?
  public var allowUnsigned = false
  /// Number of event loops; 0: as many as the process may use processors.
  public var threads = 0
  public var logLevel: Logger.Level = .info
  public var logFormat: LogFormat = .text
  public var grace: Duration = .seconds(Limits.graceSecondsDefault)
  public var stopLimit: Duration = .seconds(Limits.stopSecondsDefault)
  public var rescan: Duration = .milliseconds(Limits.rescanMillisecondsDefault)
  /// Models that have to serve before the server is ready.
  public var readiness = ReadinessPolicy.allModels
  /// Number of previous versions that stay in memory.
  public var keep = 1
  /// Memory budget in bytes; 0: what control group and machine leave.
  public var memoryMax = 0
  public var planRowsMax = 256
  public var relaxed = false
  public var precision = PrecisionPolicy.stored
  /// Time in seconds that live statistics look back; 0: there are none.
  public var watchSeconds = Limits.watchWindowSecondsDefault
  /// Capturing of calls; nil: there is none.
  public var capture: CaptureOptions?
  /// Tracing of calls; nil: there is none.
  public var tracing: TracingOptions?
  /// Caching of answers; nil: there is none.
  public var cache: CacheOptions?
  /// Asynchronous jobs of the HTTP port; nil: there are none.
  public var jobs: JobOptions? = JobOptions()
  /// File of rules about feedback; nil: no predictions are remembered.
  public var feedbackRules: String?
  /// Threads that may share one large layer; 0: as many as the process may use processors.
  public var engineThreads = 0
  public var serving = ServingOptions()
  public var limits = ConnectionLimits()
  /// Bytes of one text.
  public var textBytesMax = Limits.textBytesMaxDefault
  public var bundleBytesMax = Limits.bundleBytesMaxDefault
  public var bundleRawBytesMax = Limits.bundleRawBytesMaxDefault
  /// Sentences about settings that may be mistakes.
  public var warnings: [String] = []

  /// The defaults for a store of unsigned bundles, from which tests start.
  public init(store: String, allowUnsigned: Bool) {
    self.store = store
    self.allowUnsigned = allowUnsigned
  }

  /// Reads and checks every value.
  /// - Throws: an error about the first wrong value that names its source, what was expected and what was found.
  public init(_ resolver: SettingsResolver) throws(ConfigurationError) {
    let values = SettingValues(resolver.resolved)
    guard let store = try values.path(.store) else {
      throw ConfigurationError(
        "no model store: name its directory or bucket with --store, \(ServerSetting.store.environmentName) or store: in the configuration file"
      )
    }
    self.store = store
    storeCache = try values.path(.storeCache)
    storeCacheBytesMax = try values.integer(.storeCacheBytes)
    stateDirectory = try values.path(.stateDirectory)
    listen = try values.address(.listen)
    http = try values.address(.http)
    unix = try values.path(.unix)
    unixMode = try values.permissions(.unixMode)
    admin = try values.address(.admin)
    adminTLS = try values.flag(.adminTLS)
    tls = try Self.tlsFiles(values)
    apiKeys = try values.path(.apiKeys)
    reload = .milliseconds(try values.integer(.reload))
    trust = try values.path(.trust)
    allowUnsigned = try values.flag(.allowUnsigned)
    threads = try values.integer(.threads)
    logLevel = Logger.Level(rawValue: try values.choice(.logLevel)) ?? .info
    logFormat = LogFormat(rawValue: try values.choice(.logFormat)) ?? .text
    grace = try values.seconds(.grace)
    stopLimit = try values.seconds(.stopLimit)
    rescan = .milliseconds(try values.integer(.rescan))
    readiness = try Self.readiness(values)
    keep = try values.integer(.keep)
    memoryMax = try values.integer(.memory)
    planRowsMax = try values.integer(.planRows)
    relaxed = try values.flag(.relaxed)
    precision = PrecisionPolicy(rawValue: try values.choice(.precision)) ?? .stored
    watchSeconds = try values.integer(.watchWindow)
    capture = try Self.capture(values)
    tracing = try Self.tracing(values)
    jobs = try Self.jobs(values)
    cache = try Self.cache(values)
    feedbackRules = try values.path(.feedbackRules)
    engineThreads = try values.integer(.engineThreads)
    serving.workers = try values.integer(.workers)
    serving.inlineCost = .microseconds(try values.integer(.inlineMicroseconds))
    serving.queueDelay = .microseconds(try values.integer(.queueDelayMicroseconds))
    serving.tickTarget = .microseconds(try values.integer(.tickMicroseconds))
    serving.spin = .microseconds(try values.integer(.spinMicroseconds))
    limits.frameBytesMax = try values.integer(.frameBytes)
    limits.connectionsMax = try values.integer(.connections)
    limits.callsInFlightMax = try values.integer(.callsInFlight)
    limits.outputBytesMax = try values.integer(.outputBytes)
    limits.outputBytesTotalMax = try values.integer(.outputBytesTotal)
    limits.idle = try values.seconds(.idle)
    limits.frame = try values.seconds(.frameTimeout)
    limits.stall = try values.seconds(.stall)
    limits.handshake = try values.seconds(.handshake)
    limits.batchRowsMax = try values.integer(.batchRows)
    textBytesMax = try values.integer(.textBytes)
    bundleBytesMax = try values.integer(.bundleBytes)
    bundleRawBytesMax = try values.integer(.bundleRawBytes)
    warnings = resolver.warnings
    try checkTogether(plaintext: try values.flag(.plaintext))
    warnings += securityWarnings
  }

  private static func readiness(_ values: SettingValues) throws(ConfigurationError) -> ReadinessPolicy {
    let isLenient = try values.choice(.readiness) == "lenient"
    guard let names = values.names(.requiredModels) else { return isLenient ? .anything : .allModels }
    guard !isLenient else {
      throw ConfigurationError("--required-models: expected --readiness strict beside it, found lenient")
    }
    var models: [ModelID] = []
    for name in names {
      do throws(ServingError) { models.append(try ModelID(name)) } catch {
        throw ConfigurationError("--required-models: \(error.message)")
      }
    }
    return .models(models)
  }

  private static func tlsFiles(_ values: SettingValues) throws(ConfigurationError) -> TLSFiles? {
    let certificate = try values.path(.tlsCertificate)
    let key = try values.path(.tlsKey)
    let clientCA = try values.path(.tlsClientCA)
    let clientCRL = try values.path(.tlsClientCRL)
    guard clientCRL == nil || clientCA != nil else {
      throw ConfigurationError("tls_client_crl: expected --tls-client-ca beside it, found none")
    }
    if let certificate, let key {
      return TLSFiles(certificate: certificate, key: key, clientCA: clientCA, clientCRL: clientCRL)
    }
    guard certificate == nil, key == nil else {
      throw ConfigurationError(
        "--tls-certificate and --tls-key: expected both or neither, found \(key == nil ? "--tls-certificate" : "--tls-key") only"
      )
    }
    guard clientCA == nil else {
      throw ConfigurationError("--tls-client-ca: expected --tls-certificate and --tls-key beside it, found neither")
    }
    return nil
  }

  /// Sentences about combinations that are allowed and may be mistakes.
  private var securityWarnings: [String] {
    var warnings: [String] = []
    if let admin, !admin.isLoopback, adminTLS, tls?.clientCA == nil {
      warnings.append(
        "--admin \(admin): whoever reaches this address may read metrics and events; --tls-client-ca says who may")
    }
    for (flag, address) in [("--listen", listen), ("--http", http)] {
      guard let address, !address.isLoopback else { continue }
      if tls == nil, apiKeys != nil {
        warnings.append(
          "\(flag) \(address): API keys beyond loopback travel unencrypted, and whoever reads one can use it")
      }
      if apiKeys == nil, tls?.clientCA == nil {
        warnings.append(
          "\(flag) \(address): whoever reaches this address may call; --api-keys or --tls-client-ca says who may")
      }
    }
    return warnings
  }

  /// Rules that concern more than one setting.
  private func checkTogether(plaintext: Bool) throws(ConfigurationError) {
    if trust == nil && !allowUnsigned {
      throw ConfigurationError(
        "no trust: name the file of keys that may sign bundles with --trust FILE, or accept unsigned bundles with --allow-unsigned"
      )
    }
    if trust != nil && allowUnsigned {
      throw ConfigurationError("--trust and --allow-unsigned contradict each other: expected one of them, found both")
    }
    _ = try bucketStore()
    if listen == nil && unix == nil && http == nil {
      throw ConfigurationError(
        "nowhere to listen: expected --listen HOST:PORT, --http HOST:PORT or --unix PATH, found none")
    }
    for (flag, address) in [("--listen", listen), ("--http", http)] {
      guard let address, !address.isLoopback, tls == nil, !plaintext else { continue }
      throw ConfigurationError(
        "\(flag) \(address): calls beyond loopback travel unencrypted; expected a loopback address, --tls-certificate or --plaintext"
      )
    }
    if adminTLS, tls == nil {
      throw ConfigurationError("--admin-tls: expected --tls-certificate and --tls-key beside it, found neither")
    }
    if let admin, !admin.isLoopback, !adminTLS, !plaintext {
      throw ConfigurationError(
        "--admin \(admin): what is read beyond loopback travels unencrypted; expected a loopback address, --admin-tls or --plaintext"
      )
    }
    if grace > stopLimit {
      throw ConfigurationError(
        "stop.grace_seconds: expected at most stop.limit_seconds (\(stopLimit.seconds)), found \(grace.seconds)")
    }
  }
}

extension Duration {
  /// Seconds as people write them.
  var seconds: Double { Double(components.seconds) + Double(components.attoseconds) / 1e18 }

  var nanoseconds: Int64 {
    let (product, overflow) = components.seconds.multipliedReportingOverflow(by: 1_000_000_000)
    return overflow ? .max : product + components.attoseconds / 1_000_000_000
  }
}

/// A TCP address to listen on.
public struct ListenAddress: Equatable, Sendable, CustomStringConvertible {
  /// A name or a numeric address, without brackets.
  public let host: String
  /// Port; 0 takes a free one.
  public let port: Int

  public init(host: String, port: Int) {
    self.host = host
    self.port = port
  }

  /// Reads `127.0.0.1:6470`, `localhost:0`, `[::1]:6470`.
  public init?(text: String) {
    guard let colon = text.lastIndex(of: ":"), let port = Int(text[text.index(after: colon)...]),
      (0...65_535).contains(port), text[text.index(after: colon)...].utf8.allSatisfy({ $0 >= 48 && $0 <= 57 })
    else { return nil }
    var host = text[..<colon]
    if host.hasPrefix("["), host.hasSuffix("]") {
      host = host.dropFirst().dropLast()
    } else if host.contains(":") {
      return nil
    }
    guard !host.isEmpty else { return nil }
    self.init(host: String(host), port: port)
  }

  /// Whether only this machine can reach the address.
  public var isLoopback: Bool {
    host == "localhost" || host == "::1" || (host.hasPrefix("127.") && host.split(separator: ".").count == 4)
  }

  public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}
