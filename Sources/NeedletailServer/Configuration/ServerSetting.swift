internal import Logging
internal import NeedletailCore
internal import NeedletailEngine

/// One thing that can be configured: its key, the type of its value, its default and its explanation.
///
/// Flags, environment variables, `--print-config`, validation and the check for unknown keys all derive
/// from the table ``ServerSetting/all``.
public struct ServerSetting: Sendable {
  /// Type of a value.
  public enum Kind: Sendable {
    case path
    /// An address: `host:port`, `[v6]:port` or `none`.
    case address
    case flag
    case integer(ClosedRange<Int>)
    /// Permissions of a file in octal digits, as `chmod` takes them.
    case permissions
    /// Seconds as a decimal number.
    case seconds(ClosedRange<Double>)
    /// A part of a whole as a decimal number from 0 to 1.
    case share
    case choice([String])
    /// Names, separated by commas.
    case names
  }

  /// Key with dots where YAML nests: `limits.frame_bytes_max`.
  public let key: String
  public let kind: Kind
  /// Default as text; nil for a setting without a default.
  public let defaultText: String?
  /// Name of the flag without dashes; nil for a setting without a flag.
  public let flag: String?
  /// Explanation in one line.
  public let summary: String

  init(_ key: String, _ kind: Kind, default defaultText: String? = nil, flag: String? = nil, _ summary: String) {
    self.key = key
    self.kind = kind
    self.defaultText = defaultText
    self.flag = flag
    self.summary = summary
  }

  /// Name of the environment variable: `NEEDLETAIL_LIMITS_FRAME_BYTES_MAX` for `limits.frame_bytes_max`.
  public var environmentName: String {
    "NEEDLETAIL_"
      + String(key.map { $0.isLetter || $0.isNumber ? Character($0.uppercased()) : "_" })
  }

  /// Explanation of the flag in `--help`.
  public var help: String {
    let fallback = defaultText.map { " (default: \($0))" } ?? ""
    return "\(summary)\(fallback) [\(environmentName)]"
  }
}

extension ServerSetting {
  /// Every setting of the server, in the order in which `--print-config` shows them.
  public static let all: [ServerSetting] = [
    store, storeCache, storeCacheBytes, stateDirectory, listen, http, unix, unixMode, plaintext, admin, adminTLS,
    tlsCertificate, tlsKey,
    tlsClientCA,
    tlsClientCRL, apiKeys, reload, trust, allowUnsigned, threads,
    logLevel, logFormat, grace, stopLimit, rescan, readiness, requiredModels, keep, planRows, relaxed, precision,
    watchWindow, captureRules, captureDirectory, captureKey, captureBytes, captureSegmentBytes, captureSeconds,
    feedbackRules, tracingEndpoint, tracingRate, tracingService, tracingHeaders, tracingAuthorities,
    engineThreads, memory,
    workers, inlineMicroseconds, queueDelayMicroseconds, tickMicroseconds, spinMicroseconds,
    frameBytes, connections, callsInFlight, outputBytes, outputBytesTotal, idle, frameTimeout, stall, handshake,
    batchRows, textBytes,
    bundleBytes, bundleRawBytes,
    cacheBytes, cacheModels, jobsMax, jobsPerCaller, jobBytes, jobRequestBytes, jobRows, jobSeconds, jobResultSeconds,
    jobStore, jobStorePassword, jobStorePrefix, jobLease, jobRuns,
  ]

  /// The setting of a key.
  /// - Precondition: the table has the key.
  public static func named(_ key: String) -> ServerSetting {
    guard let setting = all.first(where: { $0.key == key }) else { preconditionFailure("no setting \(key)") }
    return setting
  }

  // MARK: listening and trust

  static let store = ServerSetting(
    "store", .path, flag: "store", "Directory of models, STORE/MODEL/VERSION.ntb, or a bucket: s3://BUCKET/PREFIX")
  static let storeCache = ServerSetting(
    "store_cache", .path, flag: "store-cache",
    "Directory for copies of a bucket's bundles; without one, store-cache below state_directory")
  static let storeCacheBytes = ServerSetting(
    "store_cache_bytes_max", .integer(1 << 20...(1 << 50)), default: "\(Limits.storeCacheBytesMaxDefault)",
    "Bytes of a bucket's bundles that the cache keeps")
  static let stateDirectory = ServerSetting(
    "state_directory", .path, flag: "state-directory",
    "Directory for what the server must remember across restarts; without one it forgets")
  static let listen = ServerSetting(
    "listen", .address, default: "127.0.0.1:6470", flag: "listen",
    "Address for calls over TCP, or none; port 0 takes a free one")
  static let http = ServerSetting(
    "http", .address, default: "none", flag: "http",
    "Address for calls by the Open Inference Protocol over HTTP, such as 127.0.0.1:8000, or none")
  static let unix = ServerSetting("unix", .path, flag: "unix", "Path of a Unix socket for calls")
  static let unixMode = ServerSetting(
    "unix_mode", .permissions,
    "Permissions of the Unix socket: who may write to it may call; without it those that the umask leaves")
  static let plaintext = ServerSetting(
    "plaintext", .flag, default: "false", flag: "plaintext",
    "Allow listening beyond loopback without encryption")
  static let admin = ServerSetting(
    "admin", .address, default: "127.0.0.1:6471", flag: "admin",
    "Address for the status page, /metrics, /livez and /readyz over HTTP, or none")
  static let adminTLS = ServerSetting(
    "admin_tls", .flag, default: "false", flag: "admin-tls",
    "Encrypt admin HTTP with the same certificate, and ask for clients' where calls do")
  static let tlsCertificate = ServerSetting(
    "tls_certificate", .path, flag: "tls-certificate",
    "Certificate chain (PEM): calls over TCP are encrypted. Reloaded when it changes")
  static let tlsKey = ServerSetting("tls_key", .path, flag: "tls-key", "Private key (PEM) of the certificate")
  static let tlsClientCA = ServerSetting(
    "tls_client_ca", .path, flag: "tls-client-ca",
    "Certificates (PEM) of whom clients' certificates must be issued by: mutual TLS")
  static let tlsClientCRL = ServerSetting(
    "tls_client_crl", .path,
    "Revocation lists (PEM) of the CAs of tls_client_ca: certificates on them are refused. Reloaded when they change")
  static let apiKeys = ServerSetting(
    "api_keys", .path, flag: "api-keys",
    "File of API keys and what each may do; without one everybody may call. Reloaded when it changes")
  static let reload = ServerSetting(
    "reload_milliseconds", .integer(10...3_600_000), default: "\(Limits.reloadMillisecondsDefault)",
    "How often certificates and API keys are looked at for changes")
  static let trust = ServerSetting("trust", .path, flag: "trust", "File of keys whose signatures count")
  static let allowUnsigned = ServerSetting(
    "allow_unsigned", .flag, default: "false", flag: "allow-unsigned", "Load bundles that nobody signed")
  static let threads = ServerSetting(
    "threads", .integer(0...1024), default: "0", flag: "threads",
    "Event loops; 0 takes as many as the process may use processors")

  // MARK: logging and stopping

  static let logLevel = ServerSetting(
    "log.level", .choice(Logger.Level.allCases.map(\.rawValue)), default: "info", flag: "log-level",
    "Least severe log line to write")
  static let logFormat = ServerSetting(
    "log.format", .choice(["text", "json"]), default: "text", flag: "log-format",
    "One line of text, or one JSON object, per event")
  static let grace = ServerSetting(
    "stop.grace_seconds", .seconds(0...3600), default: "\(Limits.graceSecondsDefault)", flag: "grace",
    "Seconds from SIGTERM, not ready but still answering, to GoAway")
  static let stopLimit = ServerSetting(
    "stop.limit_seconds", .seconds(0...3600), default: "\(Limits.stopSecondsDefault)",
    "Seconds from SIGTERM to exit at the latest")

  // MARK: models

  static let rescan = ServerSetting(
    "models.rescan_milliseconds", .integer(10...3_600_000), default: "\(Limits.rescanMillisecondsDefault)",
    "How often the store is read whole, whatever inotify said")
  static let readiness = ServerSetting(
    "models.readiness", .choice(["strict", "lenient"]), default: "strict", flag: "readiness",
    "Ready once every model of the store serves, or, with lenient, once the store was read")
  static let requiredModels = ServerSetting(
    "models.required", .names, flag: "required-models",
    "Names, separated by commas: ready once these models serve, whatever else the store holds")
  static let keep = ServerSetting(
    "models.keep", .integer(0...64), default: "1", "Previous versions that stay in memory for a rollback")
  static let memory = ServerSetting(
    "memory_max", .integer(0...(1 << 50)), default: "0", flag: "memory-max",
    "Bytes that the process may have when a model is loaded; 0 leaves it to the control group and the machine")
  static let planRows = ServerSetting(
    "models.plan_rows_max", .integer(1...Limits.batchRowsMaxDefault), default: "256",
    "Rows that one run of a plan computes")
  static let relaxed = ServerSetting(
    "models.relaxed", .flag, default: "false",
    "Allow large fp32 layers to round to bf16, and answers to depend on the batch, where that is faster")
  static let precision = ServerSetting(
    "models.precision", .choice(PrecisionPolicy.allCases.map(\.rawValue)), default: PrecisionPolicy.stored.rawValue,
    "Compute in what the bundle stores, or, with auto, int8 as fp32 where this CPU is faster that way")
  static let watchWindow = ServerSetting(
    "watch.window_seconds", .integer(0...Limits.watchWindowSecondsMax),
    default: "\(Limits.watchWindowSecondsDefault)",
    "Seconds that live statistics of inputs and answers look back; 0 keeps none")
  static let captureRules = ServerSetting(
    "capture.rules", .path, flag: "capture-rules",
    "File that says which calls of which models are captured; without one none are")
  static let captureDirectory = ServerSetting(
    "capture.directory", .path, flag: "capture-directory",
    "Directory for captured calls; without one, capture below state_directory")
  static let captureKey = ServerSetting(
    "capture.key_file", .path, "File with the key that redacted values are hashed with")
  static let captureBytes = ServerSetting(
    "capture.bytes_max", .integer(2 << 20...(1 << 50)), default: "\(Limits.captureBytesDefault)",
    "Bytes of all captured calls; the oldest are removed")
  static let captureSegmentBytes = ServerSetting(
    "capture.segment_bytes_max", .integer(1 << 20...(1 << 40)), default: "\(Limits.captureSegmentBytesDefault)",
    "Bytes of a segment of captured calls after which the next one begins")
  static let captureSeconds = ServerSetting(
    "capture.seconds_max", .integer(60...1_000_000_000), default: "\(Limits.captureSecondsDefault)",
    "Seconds after which a segment of captured calls is removed")
  static let tracingEndpoint = ServerSetting(
    "tracing.endpoint", .path, flag: "tracing-endpoint",
    "Collector that takes spans by OTLP over HTTP, such as http://127.0.0.1:4318; without one no call is traced")
  static let tracingRate = ServerSetting(
    "tracing.rate", .share, default: "0", flag: "tracing-rate",
    "Part of the calls without a traceparent that are traced, 0 to 1")
  static let tracingService = ServerSetting(
    "tracing.service_name", .path, default: "needletail", "Name of this server in its spans")
  static let tracingHeaders = ServerSetting(
    "tracing.headers_file", .path, "File of HTTP fields for the collector, NAME: VALUE in each line")
  static let tracingAuthorities = ServerSetting(
    "tracing.ca_file", .path,
    "Certificates (PEM) of whom the collector's certificate must be issued by; without it, those that the system trusts"
  )
  static let feedbackRules = ServerSetting(
    "feedback.rules", .path, flag: "feedback-rules",
    "File that says which predictions of which models are remembered for outcomes; without one none are")
  static let engineThreads = ServerSetting(
    "engine.threads", .integer(0...64), default: "0",
    "Threads that may share one large layer; 0 takes as many as the process may use processors")

  // MARK: serving

  static let workers = ServerSetting(
    "serving.workers", .integer(0...1024), default: "0",
    "Threads for plans too expensive for an event loop; 0 takes as many as the process may use processors")
  static let inlineMicroseconds = ServerSetting(
    "serving.inline_microseconds", .integer(0...10_000_000), default: "\(Limits.inlineNanosecondsMaxDefault / 1000)",
    "A call that costs no more, by what loading measured, runs on its event loop")
  static let queueDelayMicroseconds = ServerSetting(
    "serving.max_queue_delay_microseconds", .integer(0...1_000_000), default: "0",
    "How long a call may wait at the workers for others to share its batch")
  static let tickMicroseconds = ServerSetting(
    "serving.tick_microseconds", .integer(100...10_000_000), default: "\(Limits.tickNanosecondsTargetDefault / 1000)",
    "Work that an overloaded event loop takes on in one wake-up before it refuses calls")
  static let spinMicroseconds = ServerSetting(
    "serving.spin_microseconds", .integer(0...Limits.spinMicrosecondsMax), default: "0",
    "How long an idle event loop looks for calls before it sleeps: spares a lone call its wake-up, for a processor")

  // MARK: limits

  static let frameBytes = ServerSetting(
    "limits.frame_bytes_max", .integer(1024...Limits.frameBytesHardCap),
    default: "\(Limits.frameBytesMaxDefault)", "Bytes of one request")
  static let connections = ServerSetting(
    "limits.connections_max", .integer(1...1_000_000), default: "\(Limits.connectionsMaxDefault)",
    "Connections at a time; one more is told OVERLOADED and closed")
  static let callsInFlight = ServerSetting(
    "limits.calls_in_flight_max", .integer(1...1_000_000), default: "\(Limits.callsInFlightMaxDefault)",
    "Calls of one connection accepted and not answered; further ones wait unread")
  static let outputBytes = ServerSetting(
    "limits.output_bytes_max", .integer(65_536...(1 << 32)), default: "\(Limits.outputBytesMaxDefault)",
    "Bytes of answers that one connection may have coming: beyond it, its further calls wait unread")
  static let outputBytesTotal = ServerSetting(
    "limits.output_bytes_total_max", .integer(65_536...(1 << 40)), default: "\(Limits.outputBytesTotalMaxDefault)",
    "Bytes of answers of all connections: beyond it, calls with large answers are refused before they run")
  static let idle = ServerSetting(
    "limits.idle_seconds", .seconds(0.001...86_400), default: "\(Limits.idleSecondsDefault)",
    "A connection that says nothing for so long is closed")
  static let frameTimeout = ServerSetting(
    "limits.frame_seconds", .seconds(0.001...86_400), default: "\(Limits.frameSecondsDefault)",
    "A connection that stops for so long within a frame is closed")
  static let stall = ServerSetting(
    "limits.stall_seconds", .seconds(0.001...86_400), default: "\(Limits.stallSecondsDefault)",
    "A connection whose waiting answers make no progress, or less than 64 KiB/s, for so long is closed")
  static let handshake = ServerSetting(
    "limits.handshake_seconds", .seconds(0.001...3600), default: "\(Limits.handshakeSecondsDefault)",
    "A connection whose TLS handshake, or whose key, is not there after so long is closed")
  static let batchRows = ServerSetting(
    "limits.batch_rows_max", .integer(1...1_000_000), default: "\(Limits.batchRowsMaxDefault)",
    "Rows of one request")
  static let textBytes = ServerSetting(
    "limits.text_bytes_max", .integer(1...(16 << 20)), default: "\(Limits.textBytesMaxDefault)",
    "Bytes of one text, for models that read text; every thread has memory for the longest")
  static let bundleBytes = ServerSetting(
    "limits.bundle_bytes_max", .integer(1024...(1 << 40)), default: "\(Limits.bundleBytesMaxDefault)",
    "Bytes of one bundle file")
  static let bundleRawBytes = ServerSetting(
    "limits.bundle_raw_bytes_max", .integer(1024...(1 << 40)), default: "\(Limits.bundleRawBytesMaxDefault)",
    "Bytes of all sections of one bundle, decompressed")
}
