internal import NeedletailBundle
internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailMetrics

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// Brings one file at a time from the store to a model that can answer, on its own low-priority thread:
/// read into private memory → verify → decode → compile → golden samples → warm.
actor BundleLoader {
  /// How far a load got, for the listing.
  struct Progress: Sendable {
    let key: VersionKey
    let state: VersionState
    let identity: StorePlanner.Identity?
  }

  enum Result {
    case live(LiveModel, BundleSeal)
    case rejected(Rejection)
    case changed
  }

  private let executor = ThreadExecutor(name: "nt-loader", niceness: 10)
  private let planOptions: PlanOptions
  private let limits: BundleLimits
  private let metrics: MetricsRegistry
  private let durations: LoadDurations

  nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

  /// A file younger than this could be written to without its timestamps moving: the kernel's clock for
  /// files ticks every 1 to 10 ms.
  private static let timestampTickMilliseconds: Int64 = 10
  /// A bundle needs this many times its size while it is loaded: the private copy, the decoded weights,
  /// the packed plan.
  private static let memoryPerFileByte: UInt64 = 3

  init(configuration: StoreConfiguration, metrics: MetricsRegistry) {
    planOptions = configuration.planOptions
    limits = configuration.limits
    self.metrics = metrics
    durations = LoadDurations(metrics)
  }

  /// - Parameters:
  ///   - progress: called on the loader's thread at every state in between.
  ///   - released: becomes the model's `onRelease`.
  func load(
    _ request: StorePlanner.LoadRequest, trust: TrustPolicy, progress: @Sendable (Progress) -> Void,
    released: @escaping @Sendable (VersionKey) -> Void
  ) -> Result {
    do throws(Stop) {
      let (model, seal) = try build(request, trust: trust, progress: progress, released: released)
      return .live(model, seal)
    } catch {
      switch error {
      case .changed: return .changed
      case .rejected(let rejection): return .rejected(rejection)
      }
    }
  }

  /// Verifies a file without loading it.
  func inspect(_ request: StorePlanner.LoadRequest, trust: TrustPolicy) -> StorePlanner.InspectOutcome {
    do throws(Stop) {
      return .verified(digest: try verify(request, trust: trust).directory.digest)
    } catch {
      switch error {
      case .changed: return .changed
      case .rejected(let rejection): return .rejected(rejection)
      }
    }
  }

  /// Gives freed memory back to the system. Takes milliseconds and the allocator's locks, which is why
  /// it happens here.
  func trimMemory() { AllocatorTrim.run() }

  private enum Stop: Error {
    case changed
    case rejected(Rejection)
  }

  private func build(
    _ request: StorePlanner.LoadRequest, trust: TrustPolicy, progress: @Sendable (Progress) -> Void,
    released: @escaping @Sendable (VersionKey) -> Void
  ) throws(Stop) -> (LiveModel, BundleSeal) {
    let bundle = try verify(request, trust: trust)
    let key = request.key
    let identity = StorePlanner.Identity(digest: bundle.directory.digest, signer: bundle.signer)
    progress(Progress(key: key, state: .loading, identity: identity))
    let contents = try step(durations.decode) { () throws(BundleError) in try bundle.decode() }
    let compiled = try step(durations.compile) { () throws(PlanError) in
      try CompiledModel(contents.definition, options: planOptions)
    }
    progress(Progress(key: key, state: .checking, identity: nil))
    try step(durations.check) { () throws(GoldenFailure) in try GoldenCheck.run(contents.golden, on: compiled) }
    progress(Progress(key: key, state: .warming, identity: nil))
    let warmUp = try step(durations.warm) { () throws(BundleError) in WarmUp.run(compiled) }
    let model = LiveModel(
      model: key.model, version: key.version, compiled: compiled, digest: identity.digest, signer: identity.signer,
      createdMilliseconds: bundle.directory.createdMilliseconds, trainingMetrics: contents.metrics,
      lineage: contents.lineage, drift: contents.drift, warmUp: warmUp,
      counters: ModelCounters(model: key.model, version: key.version, metrics: metrics),
      onRelease: { released(key) })
    return (model, bundle.seal)
  }

  private func verify(_ request: StorePlanner.LoadRequest, trust: TrustPolicy) throws(Stop) -> VerifiedBundle {
    let fingerprint = try settledFingerprint(request.path)
    try checkMemory(for: fingerprint.bytes)
    do throws(Stop) {
      let file = try step(durations.read) { () throws(BundleError) in
        try BundleFile.open(path: request.path, limits: limits)
      }
      return try step(durations.verify) { () throws(BundleError) in
        try VerifiedBundle(
          file, trust: trust, expecting: (request.key.model, request.key.version), limits: limits,
          nowMilliseconds: Moment.now().milliseconds)
      }
    } catch {
      // A refusal counts only if it is one of the file as it lies there still.
      guard case .file(fingerprint) = FileFingerprint.of(path: request.path) else { throw .changed }
      throw error
    }
  }

  /// Waits until a change of the file could not go unnoticed any more.
  private func settledFingerprint(_ path: String) throws(Stop) -> FileFingerprint {
    guard case .file(let fingerprint) = FileFingerprint.of(path: path) else { throw .changed }
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    let now = Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec)
    let tick = Self.timestampTickMilliseconds * 1_000_000
    let age = now &- max(fingerprint.modifiedNanoseconds, fingerprint.changedNanoseconds)
    // A timestamp from the future tells nothing about age.
    guard (0..<tick).contains(age) else { return fingerprint }
    usleep(UInt32((tick - age) / 1000) + 1)
    guard case .file(fingerprint) = FileFingerprint.of(path: path) else { throw .changed }
    return fingerprint
  }

  private func checkMemory(for fileBytes: UInt64) throws(Stop) {
    guard let available = SystemMemory.availableBytes() else { return }
    let (needed, overflow) = fileBytes.multipliedReportingOverflow(by: Self.memoryPerFileByte)
    guard overflow || needed > available else { return }
    throw .rejected(
      Rejection(
        label: "memory",
        message: "memory: expected \(needed) bytes for a file of \(fileBytes), found \(available) available",
        isTransient: true))
  }

  /// Runs one phase and records how long it took, whatever came of it.
  private func step<T, E: RejectionConvertible>(_ duration: Histogram, _ body: () throws(E) -> T) throws(Stop) -> T {
    let start = Instant.now()
    defer { duration.record(microseconds: Instant.now().microseconds(since: start)) }
    do {
      return try body()
    } catch {
      throw .rejected(error.rejection)
    }
  }
}

/// The errors that a phase of loading ends with.
private protocol RejectionConvertible: Error {
  var rejection: Rejection { get }
}

extension BundleError: RejectionConvertible {
  fileprivate var rejection: Rejection { Rejection(self) }
}

extension PlanError: RejectionConvertible {
  fileprivate var rejection: Rejection { Rejection(self) }
}

extension GoldenFailure: RejectionConvertible {
  fileprivate var rejection: Rejection { Rejection(self) }
}
