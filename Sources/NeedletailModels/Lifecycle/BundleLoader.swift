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
  private let precision: PrecisionPolicy
  private let limits: BundleLimits
  private let metrics: MetricsRegistry
  private let durations: LoadDurations
  private let budget: MemoryBudget
  private let eventLog: EventLog
  private let state: StateDirectory
  private var accepted: AcceptanceLedger
  /// What files needed that there was no room for: one that did not change need not be read again to
  /// find that out again.
  private var unmetNeeds: [FileFingerprint: UInt64] = [:]

  nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

  /// A file younger than this could be written to without its timestamps moving: the kernel's clock for
  /// files ticks every 1 to 10 ms.
  private static let timestampTickMilliseconds: Int64 = 10
  private static let unmetNeedsMax = 256
  /// Whoever goes on touching a file for so many ticks is left to finish first.
  private static let settlingLooksMax = 8

  init(configuration: StoreConfiguration, metrics: MetricsRegistry, eventLog: EventLog) {
    planOptions = configuration.planOptions
    precision = configuration.precision
    limits = configuration.limits
    self.metrics = metrics
    durations = LoadDurations(metrics)
    budget = MemoryBudget(bytesMax: configuration.memoryBytesMax)
    self.eventLog = eventLog
    state = configuration.state
    var known: AcceptedVersions?
    do throws(StateError) {
      known = try state.read(AcceptedVersions.self, from: AcceptanceLedger.fileName)
    } catch {
      eventLog.emit(
        .alarm, .error, "accepted versions unknown: rollback protection begins anew",
        [.init("reason", error.message)])
    }
    accepted = AcceptanceLedger(known ?? AcceptedVersions(), keep: configuration.keep)
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
    let keyID = bundle.signingKey?.publicKey.keyID ?? ""
    progress(Progress(key: key, state: .loading, identity: identity))
    if let rejection = accepted.refusal(of: key, digest: identity.digest, keyID: keyID, isLate: request.isLate) {
      throw .rejected(rejection)
    }
    try reserve(LoadCost.decoding(bundle.directory), for: "decoding", of: request)
    let contents = try step(durations.decode) { () throws(BundleError) in try bundle.decode() }
    let choice = try step(durations.choose) { () throws(PlanError) in
      try PlanChoice.make(for: contents.definition.graph, policy: precision, isa: planOptions.isa)
    }
    try reserve(
      LoadCost.packing(contents.definition.graph, dequantised: choice.dequantises), for: "packed weights", of: request)
    let candidate = try step(durations.compile) { () throws(PlanError) in
      try CompiledModel(contents.definition, options: planOptions, choice: choice)
    }
    progress(Progress(key: key, state: .checking, identity: nil))
    let compiled = try step(durations.check) { () throws(GoldenFailure) in
      try candidate.passing(contents.golden, of: contents.definition, options: planOptions)
    }
    progress(Progress(key: key, state: .warming, identity: nil))
    try reserve(UInt64(clamping: compiled.plan.workspaceBytes), for: "scratch", of: request)
    let warmUp = try step(durations.warm) { () throws(BundleError) in WarmUp.run(compiled) }
    remember(key, digest: identity.digest, keyID: keyID)
    let model = LiveModel(
      model: key.model, version: key.version, compiled: compiled, digest: identity.digest, signer: identity.signer,
      createdMilliseconds: bundle.directory.createdMilliseconds, trainingMetrics: contents.metrics,
      lineage: contents.lineage, drift: contents.drift, warmUp: warmUp,
      counters: ModelCounters(model: key.model, version: key.version, metrics: metrics),
      onRelease: { released(key) })
    return (model, bundle.seal)
  }

  private func verify(_ request: StorePlanner.LoadRequest, trust: TrustPolicy) throws(Stop) -> VerifiedBundle {
    let fingerprint = try settledFingerprint(request)
    try reserve(unmetNeeds[fingerprint] ?? fingerprint.bytes, for: "a file of \(fingerprint.bytes)", of: request)
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
  /// - Throws: `.changed` if somebody wrote to the file since it was scanned: it may be growing again.
  private func settledFingerprint(_ request: StorePlanner.LoadRequest) throws(Stop) -> FileFingerprint {
    let tick = Self.timestampTickMilliseconds * 1_000_000
    var last: FileFingerprint?
    for _ in 0..<Self.settlingLooksMax {
      guard case .file(let fingerprint) = FileFingerprint.of(path: request.path),
        fingerprint.hasContents(of: request.fingerprint)
      else { throw .changed }
      // Only its links or permissions moved while we waited: a publisher took its temporary name away.
      guard fingerprint != last else { return fingerprint }
      var time = timespec()
      clock_gettime(CLOCK_REALTIME, &time)
      let now = Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec)
      let age = now &- max(fingerprint.modifiedNanoseconds, fingerprint.changedNanoseconds)
      // A timestamp from the future tells nothing about age.
      guard (0..<tick).contains(age) else { return fingerprint }
      usleep(UInt32((tick - age) / 1000) + 1)
      last = fingerprint
    }
    throw .changed
  }

  /// Makes sure that there is room for what the next step allocates.
  private func reserve(
    _ bytes: UInt64, for what: String, of request: StorePlanner.LoadRequest
  ) throws(Stop) {
    var refusal = budget.refusal(of: bytes, for: what)
    if refusal != nil {
      // What was freed may not have been given back yet.
      AllocatorTrim.run()
      refusal = budget.refusal(of: bytes, for: what)
    }
    guard let refusal else {
      unmetNeeds[request.fingerprint] = nil
      return
    }
    if unmetNeeds.count >= Self.unmetNeedsMax { unmetNeeds.removeAll() }
    // With the file's own bytes, which are given back until the next try.
    unmetNeeds[request.fingerprint] = max(
      unmetNeeds[request.fingerprint] ?? 0, bytes.addingReportingOverflow(request.fingerprint.bytes).partialValue)
    throw .rejected(refusal)
  }

  /// A record that cannot be written does not keep a good version from serving.
  private func remember(_ key: VersionKey, digest: String, keyID: String) {
    guard accepted.accept(key, digest: digest, keyID: keyID) else { return }
    do throws(StateError) {
      try state.write(accepted.accepted, to: AcceptanceLedger.fileName)
    } catch {
      eventLog.emit(
        .alarm, .error, "accepted version not recorded: after a restart an older one could be put back",
        model: key.model, version: key.version, [.init("reason", error.message)])
    }
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
