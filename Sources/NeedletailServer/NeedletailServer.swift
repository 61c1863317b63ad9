public import Logging
internal import NIOCore
internal import NIOPosix
internal import NeedletailBLAS
internal import NeedletailBundle
internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailMetrics
package import NeedletailModels
internal import NeedletailSecurity
internal import NeedletailServing
internal import NeedletailSystem
internal import NeedletailTLS
internal import NeedletailWire
internal import ServiceLifecycle
internal import Synchronization
internal import UnixSignals

/// A server with all its parts: the store that loads models, the listener that answers calls, the admin port, and the
/// signals that end them.
///
/// ```swift
/// let server = try await NeedletailServer(configuration, logger: logger)
/// try await server.run()  // until SIGTERM, SIGINT or stop()
/// ```
public final class NeedletailServer: Sendable {
  private let configuration: ServerConfiguration
  private let logger: Logger
  private let store: ModelStore
  let listener: Listener
  private let tls: TLSSource?
  private let keys: KeySource?
  private let control: ControlPlane
  private let workers: WorkerPool
  private let kept: KeptCalls
  private let tracing: TraceService?
  private let jobs: JobService?
  private let housekeeping: MultiThreadedEventLoopGroup
  private let services: ServiceGroup
  private let admin: BoundAddress
  /// Recent traffic of versions, for tests that cannot wait for a reading.
  package var traffic: TrafficReader { store.traffic }

  /// Makes all parts and binds the sockets for calls; nothing is loaded yet.
  /// - Parameters:
  ///   - signals: whether SIGTERM and SIGINT stop it, and SIGHUP reloads; false inside a test.
  ///   - log: where the logger's lines go, if it may drop some.
  /// - Throws: ``ConfigurationError`` naming the setting that cannot be used.
  public init(
    _ configuration: ServerConfiguration, logger: Logger, log: LogWriter? = nil, signals: Bool = true
  ) async throws {
    self.configuration = configuration
    self.logger = logger
    try Self.prepareProcess()
    try configuration.checkStore()

    let threads = configuration.threads == 0 ? Processors.count : configuration.threads
    let workerThreads = configuration.serving.workers == 0 ? Processors.count : configuration.serving.workers
    // Each loop and worker has a heap of its own beside the C library's eight a processor, which the engine's threads
    // share with Swift's, and beside sixteen for the threads that accept, list, load, log and run shadows. The library
    // fixes the number once some threads have allocated: before the engine starts its own.
    Heap.allow(threads: threads + workerThreads + 8 * Processors.count + 16)
    EnginePool.start(threads: configuration.engineThreads == 0 ? Processors.count : configuration.engineThreads)
    let metrics = MetricsRegistry(shards: threads + workerThreads)
    Self.addServerMetrics(metrics, log: log)
    let registry = ModelRegistry(readers: threads)
    let store = try Self.makeStore(configuration, registry: registry, metrics: metrics, logger: logger)
    let (keeping, kept) = try configuration.makeKeeping(metrics, experiments: store.experiments) { [store] in
      store.eventLog.emit(.server, .warning, $0)
    }
    let control = ControlPlane(
      readiness: Readiness(store: store), store: store, registry: registry, metrics: metrics,
      allowsUnsigned: configuration.allowUnsigned, serverInfo: ServerInfoReport(configuration),
      feedback: kept.feedback, names: kept.names)
    let tls = try configuration.tls.map { files throws(ConfigurationError) in try TLSSource(files) }
    let keys = try configuration.apiKeys.map { path throws(ConfigurationError) in try KeySource(path: path) }
    let outputBudget = OutputBudget(bytesMax: configuration.limits.outputBytesTotalMax)
    metrics.sampled(
      "needletail_output_waiting_bytes", kind: .gauge,
      help: "Bytes of answers that are large, from the admission of their calls, or wait for slow peers."
    ) { Double(outputBudget.bytesWaiting) }
    let servingCounters = ServingCounters(metrics: metrics)
    let workers = WorkerPool(
      .init(
        workers: workerThreads,
        inlineNanosecondsMax: UInt64(clamping: configuration.serving.inlineCost.nanoseconds),
        queueDelayNanoseconds: UInt64(clamping: configuration.serving.queueDelay.nanoseconds)),
      firstShard: threads)
    let tracing = try configuration.tracing.map { options throws(ConfigurationError) in
      try options.makeService(metrics) { [store] in store.eventLog.emit(.server, .warning, $0) }
    }
    let jobs = configuration.jobs.map {
      JobService($0, registry: registry, readiness: control.readiness, metrics: metrics) { [store] event in
        store.eventLog.emit(event)
      }
    }
    let shared = SharedServices(
      logger: logger, control: control, metrics: metrics,
      gate: ConnectionGate(connectionsMax: configuration.limits.connectionsMax), outputBudget: outputBudget,
      workers: workers, connectionCounters: ConnectionCounters(metrics: metrics), servingCounters: servingCounters,
      background: BackgroundRunner(metrics: metrics), jobs: jobs, keeping: keeping, tracing: tracing,
      caches: try configuration.caches(loops: threads, metrics),
      accessCounters: AccessCounters(metrics: metrics),
      tlsCounters: TLSCounters(metrics: metrics), audit: AuditLog(logger: logger), keys: keys)

    let listener = try Listener(
      configuration: configuration, threads: threads, registry: registry, tls: tls, shared: shared)
    let housekeeping = MultiThreadedEventLoopGroup(numberOfThreads: 1)

    self.store = store
    self.control = control
    workers.start()
    self.workers = workers
    self.kept = kept
    self.tracing = tracing
    jobs?.start()
    self.jobs = jobs
    self.housekeeping = housekeeping
    self.listener = listener
    self.tls = tls
    self.keys = keys
    let admin = BoundAddress()
    self.admin = admin
    // Parts stop from the last to the first: the admin port says "not ready" while calls are drained.
    var parts: [any Service] = [store]
    if let address = configuration.admin {
      parts.append(
        AdminService(
          address: address, connectionsMax: configuration.adminConnectionsMax,
          tls: configuration.adminTLS ? tls : nil,
          // Without a client CA a connection has no certificate to look at.
          keys: configuration.adminTLS && configuration.tls?.clientCA != nil ? keys : nil, control: control,
          group: housekeeping, logger: logger
        ) { bound in
          var metadata: Logger.Metadata = ["address": "\(bound)"]
          if configuration.adminTLS { metadata["tls"] = configuration.tls?.clientCA == nil ? "yes" : "mutual" }
          logger.info("admin listening", metadata: metadata)
          admin.set(bound)
        })
    }
    let reloader = SecurityReloader(
      tls: tls, keys: keys, interval: configuration.reload, metrics: metrics, logger: logger,
      onKeys: listener.setKeys)
    if tls != nil || keys != nil { parts.append(reloader) }
    if signals {
      parts.append(
        HangupService {
          store.eventLog.emit(.server, .notice, "reloading on SIGHUP")
          reloader.look(unchangedToo: true)
          await store.rescan()
        })
    }
    parts.append(listener)
    var quiet = logger
    quiet.logLevel = max(logger.logLevel, .warning)
    services = ServiceGroup(
      configuration: ServiceGroupConfiguration(
        services: parts.map { .init(service: $0) }, gracefulShutdownSignals: signals ? [.sigterm, .sigint] : [],
        logger: quiet))
  }

  /// Address of calls over TCP, with port 0 resolved; nil without TCP.
  public var tcpAddress: ListenAddress? { listener.tcpAddress }

  /// Address of calls by the Open Inference Protocol, with port 0 resolved; nil without it.
  public var httpAddress: ListenAddress? { listener.httpAddress }

  /// Address of admin HTTP, with port 0 resolved, as soon as it is bound; nil without admin HTTP.
  public func adminAddress() async -> ListenAddress? {
    configuration.admin == nil ? nil : await admin.value()
  }

  /// Returns when the store's first scan has been dealt with; whether the server is ready for traffic is another matter.
  /// - Throws: `CancellationError`.
  public func waitUntilSettled() async throws { try await store.wait { $0.isSettled } }

  /// Text of the metrics, for tests that must not disturb the loops by a call.
  package var metricsText: String { control.metricsText }

  /// What the status page shows, for tests.
  var status: ServerStatus { control.status }

  /// The store behind the server, for tests that wait for a version.
  package var modelStore: ModelStore { store }

  /// Serves until a signal or ``stop()``, drains, and returns.
  /// - Throws: the error of the part that failed.
  public func run() async throws {
    logStart()
    let telling = Task { [store] in
      guard (try? await store.wait(until: { $0.isSettled })) != nil else { return }
      let obstacle = store.obstacle
      if !obstacle.isEmpty {
        store.eventLog.emit(.server, .warning, "not ready", [.init("reason", obstacle)])
        guard (try? await store.wait(until: { $0.isReady })) != nil else { return }
      }
      let served = store.status.models.map { "\($0.model)@\($0.serving?.description ?? "none")" }
      store.eventLog.emit(.server, .info, "ready", [.init("models", served.joined(separator: ","))])
    }
    let result: Result<Void, any Error>
    do {
      result = .success(try await services.run())
    } catch {
      result = .failure(error)
      await listener.abandon()
    }
    telling.cancel()
    admin.set(nil)
    workers.stop()
    await jobs?.stop()
    kept.feedback?.stop()
    await kept.capture?.stop()
    await tracing?.stop()
    try? await housekeeping.shutdownGracefully()
    try result.get()
  }

  /// Stops the server as SIGTERM does.
  public func stop() async { await services.triggerGracefulShutdown() }

  private func logStart() {
    for warning in configuration.warnings { logger.warning("\(warning)") }
    if configuration.allowUnsigned {
      logger.warning("unsigned bundles are allowed: whoever can write to the store decides what is served")
    }
    if configuration.stateDirectory == nil {
      logger.notice("no state_directory: what was undone or quarantined is forgotten when the server stops")
    }
    // Elsewhere `version` is that of a model, a number.
    var metadata: Logger.Metadata = [
      "server_version": "\(needletailVersion)", "isa": "\(InstructionSet.selected.rawValue)",
      "threads": .stringConvertible(loops), "engine_threads": .stringConvertible(EnginePool.threads),
      "store": "\(configuration.storeName)",
    ]
    if let tcp = listener.tcpAddress { metadata["address"] = "\(tcp)" }
    if let http = listener.httpAddress { metadata["http"] = "\(http)" }
    if let unix = configuration.unix { metadata["unix"] = "\(unix)" }
    if let tls = configuration.tls { metadata["tls"] = tls.clientCA == nil ? "yes" : "mutual" }
    if let keys { metadata["keys"] = .stringConvertible(keys.ring.grants.count) }
    logger.info("listening", metadata: metadata)
  }

  private var loops: Int { configuration.threads == 0 ? Processors.count : configuration.threads }

  // MARK: parts

  private static func prepareProcess() throws(ConfigurationError) {
    TLSMemory.keepFreedBlocks()
    do throws(PlanError) {
      try InstructionSet.validateEnvironment()
    } catch {
      throw ConfigurationError("NEEDLETAIL_ISA: \(error)")
    }
    BLAS.useOneThread()
  }

  private static func makeStore(
    _ configuration: ServerConfiguration, registry: ModelRegistry, metrics: MetricsRegistry, logger: Logger
  ) throws(ConfigurationError) -> ModelStore {
    let trust: StoreConfiguration.Trust = configuration.trust.map { .file(path: $0) } ?? .policy(.allowingUnsigned)
    // The cache of a bucket lies below the state directory, which is made here.
    let state = try makeState(configuration)
    let source = try makeSource(configuration)
    var settings = StoreConfiguration(source: source, trust: trust)
    settings.allowUnsigned = configuration.allowUnsigned
    settings.rescanInterval = configuration.rescan
    settings.keep = configuration.keep
    settings.memoryBytesMax = configuration.memoryMax == 0 ? nil : UInt64(configuration.memoryMax)
    settings.state = state
    settings.readiness = configuration.readiness
    settings.planOptions.rowsMax = configuration.planRowsMax
    settings.planOptions.relaxed = configuration.relaxed ? BLAS.product : nil
    settings.planOptions.textBytesMax = configuration.textBytesMax
    settings.watchSeconds = configuration.watchSeconds
    settings.threads = metrics.shards
    settings.precision = configuration.precision
    settings.limits = BundleLimits(
      fileBytesMax: configuration.bundleBytesMax, rawBytesMax: configuration.bundleRawBytesMax)
    do throws(BundleError) {
      return try ModelStore(configuration: settings, registry: registry, metrics: metrics, logger: logger)
    } catch {
      throw ConfigurationError(configuration.trust.map { "--trust \($0): \(error)" } ?? "\(error)")
    }
  }

  private static func makeSource(
    _ configuration: ServerConfiguration
  ) throws(ConfigurationError) -> StoreConfiguration.Source {
    guard let bucket = try configuration.bucketStore() else { return .directory(path: configuration.store) }
    do throws(BundleError) {
      try bucket.prepareCache()
    } catch {
      throw ConfigurationError("--store-cache: \(error)")
    }
    return .bucket(bucket)
  }

  private static func makeState(_ configuration: ServerConfiguration) throws(ConfigurationError) -> StateDirectory {
    guard let path = configuration.stateDirectory else { return .inMemory }
    do throws(StateError) {
      return try StateDirectory(creating: path)
    } catch {
      throw ConfigurationError("--state-directory: \(error)", mayPass: error.reason == .taken)
    }
  }

  private static func addServerMetrics(_ metrics: MetricsRegistry, log: LogWriter?) {
    metrics.addProcessMetrics()
    if let log {
      metrics.sampled(
        "needletail_log_lines_dropped_total", kind: .counter, help: "Log lines thrown away because nobody read the log."
      ) { Double(log.droppedLines) }
    }
    metrics.gauge(
      "needletail_build_info", help: "1; the labels tell which build serves.",
      labels: [("version", needletailVersion), ("isa", InstructionSet.selected.rawValue)]
    ).set(1)
    metrics.sampled("needletail_engine_threads", kind: .gauge, help: "Threads that may share one layer.") {
      Double(EnginePool.threads)
    }
    metrics.sampled(
      "needletail_engine_shared_layers_total", kind: .counter, help: "Layers that more than one thread computed."
    ) { Double(EnginePool.sharedLayers) }
  }
}

/// An address that becomes known later, and the tasks that wait for it.
final class BoundAddress: Sendable {
  private enum State {
    case unknown([CheckedContinuation<ListenAddress?, Never>])
    case known(ListenAddress?)
  }

  private let state = Mutex(State.unknown([]))

  /// Makes the address known, once; nil: there will be none.
  func set(_ address: ListenAddress?) {
    let waiting = state.withLock { state -> [CheckedContinuation<ListenAddress?, Never>] in
      guard case .unknown(let waiting) = state else { return [] }
      state = .known(address)
      return waiting
    }
    for continuation in waiting { continuation.resume(returning: address) }
  }

  func value() async -> ListenAddress? {
    await withCheckedContinuation { continuation in
      let known = state.withLock { state -> ListenAddress?? in
        switch state {
        case .known(let address): return .some(address)
        case .unknown(let waiting):
          state = .unknown(waiting + [continuation])
          return nil
        }
      }
      if let known { continuation.resume(returning: known) }
    }
  }
}
