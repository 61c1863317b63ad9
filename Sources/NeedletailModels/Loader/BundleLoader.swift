internal import NeedletailBundle
internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailMetrics

/// Brings one bundle at a time from the store to a model that can answer, on its own low-priority thread:
/// read into private memory → verify → decode → compile → golden samples → warm.
actor BundleLoader {
  /// How far a load got, for the listing.
  struct Progress: Sendable {
    let key: VersionKey
    let state: VersionState
    let identity: Reconciler.Identity?
  }

  enum Result {
    case live(LiveModel, SignedManifest)
    case rejected(Rejection)
    case changed
  }

  private let executor = ThreadExecutor(name: "nt-loader", niceness: 10)
  private let source: any StoreSource
  private let planOptions: PlanOptions
  private let precision: PrecisionPolicy
  private let limits: BundleLimits
  private let metrics: MetricsRegistry
  private let durations: LoadDurations
  private let budget: MemoryBudget
  private var accepted: AcceptanceLedger
  private var acceptedFile: StateFile<AcceptedVersions>
  private var isRetryingState = false
  /// Bytes that bundles needed and that were not free: a bundle that did not change need not be read again to find
  /// that out again.
  private var unmetNeeds: [StoreFingerprint: UInt64] = [:]

  nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

  private static let unmetNeedsMax = 256

  init(
    configuration: StoreConfiguration, source: any StoreSource, metrics: MetricsRegistry, eventLog: EventLog
  ) {
    self.source = source
    planOptions = configuration.planOptions
    precision = configuration.precision
    limits = configuration.limits
    self.metrics = metrics
    durations = LoadDurations(metrics)
    budget = MemoryBudget(bytesMax: configuration.memoryBytesMax)
    var file = StateFile<AcceptedVersions>(
      AcceptanceLedger.fileName, of: configuration.state, content: "accepted versions",
      lost: "rollback protection begins anew", metrics: metrics, eventLog: eventLog)
    accepted = AcceptanceLedger(file.read() ?? AcceptedVersions(), keep: configuration.keep)
    acceptedFile = file
  }

  /// Brings a bundle up.
  ///
  /// - Parameters:
  ///   - progress: called on the loader's thread at every state in between.
  ///   - released: becomes the model's `onRelease`.
  func load(
    _ request: Reconciler.LoadRequest, trust: TrustPolicy, progress: @Sendable (Progress) -> Void,
    released: @escaping @Sendable (VersionKey) -> Void
  ) -> Result {
    do throws(Stop) {
      let (model, manifest) = try build(request, trust: trust, progress: progress, released: released)
      return .live(model, manifest)
    } catch {
      switch error {
      case .changed: return .changed
      case .rejected(let rejection): return .rejected(rejection)
      }
    }
  }

  /// Verifies a bundle without loading it.
  func inspect(_ request: Reconciler.LoadRequest, trust: TrustPolicy) -> Reconciler.InspectOutcome {
    do throws(Stop) {
      return .verified(digest: try verify(request, trust: trust).manifest.digest)
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
    _ request: Reconciler.LoadRequest, trust: TrustPolicy, progress: @Sendable (Progress) -> Void,
    released: @escaping @Sendable (VersionKey) -> Void
  ) throws(Stop) -> (LiveModel, SignedManifest) {
    let bundle = try verify(request, trust: trust)
    let key = request.key
    let identity = Reconciler.Identity(digest: bundle.manifest.digest, signer: bundle.signer)
    let keyID = bundle.signingKey?.publicKey.keyID ?? ""
    progress(Progress(key: key, state: .loading, identity: identity))
    if let rejection = accepted.refusal(of: key, digest: identity.digest, keyID: keyID, isLate: request.isLate) {
      throw .rejected(rejection)
    }
    try reserve(LoadCost.decoding(bundle.manifest), for: "decoding", of: request)
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
      createdMilliseconds: bundle.manifest.createdMilliseconds, trainingMetrics: contents.metrics,
      lineage: contents.lineage, drift: contents.drift, warmUp: warmUp,
      counters: ModelCounters(model: key.model, version: key.version, metrics: metrics),
      onRelease: { released(key) })
    return (model, bundle.signedManifest)
  }

  private func verify(_ request: Reconciler.LoadRequest, trust: TrustPolicy) throws(Stop) -> VerifiedBundle {
    let bundle = request.bundle
    try reserve(unmetNeeds[bundle.fingerprint] ?? bundle.bytes, for: "a file of \(bundle.bytes)", of: request)
    let copy = try step(durations.read) { () throws(StoreReadError) in try source.read(bundle, limits: limits) }
    do throws(Stop) {
      return try step(durations.verify) { () throws(BundleError) in
        try VerifiedBundle(
          copy.file, trust: trust, expecting: (request.key.model, request.key.version), limits: limits,
          nowMilliseconds: Moment.now().milliseconds)
      }
    } catch {
      // A refusal counts only if the store still holds the bytes that were refused.
      guard source.fingerprint(of: request.key) == copy.fingerprint else { throw .changed }
      throw error
    }
  }

  /// Makes sure that the memory which the next step allocates is free.
  private func reserve(
    _ bytes: UInt64, for what: String, of request: Reconciler.LoadRequest
  ) throws(Stop) {
    var refusal = budget.refusal(of: bytes, for: what)
    if refusal != nil {
      // What was freed may not have been given back yet.
      AllocatorTrim.run()
      refusal = budget.refusal(of: bytes, for: what)
    }
    guard let refusal else {
      unmetNeeds[request.bundle.fingerprint] = nil
      return
    }
    if unmetNeeds.count >= Self.unmetNeedsMax { unmetNeeds.removeAll() }
    // The file's own bytes count too: they are given back until the next try.
    unmetNeeds[request.bundle.fingerprint] = max(
      unmetNeeds[request.bundle.fingerprint] ?? 0, bytes.addingReportingOverflow(request.bundle.bytes).partialValue)
    throw .rejected(refusal)
  }

  /// A record that cannot be written does not keep a good version from serving; it is written again until it is.
  private func remember(_ key: VersionKey, digest: String, keyID: String) {
    guard accepted.accept(key, digest: digest, keyID: keyID) else { return }
    acceptedFile.write(accepted.accepted)
    retryState()
  }

  private func retryState() {
    guard !isRetryingState, let delay = acceptedFile.retryDelay else { return }
    isRetryingState = true
    Task { [weak self] in
      try? await Task.sleep(for: delay)
      await self?.writeStateAgain()
    }
  }

  private func writeStateAgain() {
    isRetryingState = false
    acceptedFile.writeAgain()
    retryState()
  }

  /// Runs one phase and records how long it took, whatever came of it.
  private func step<T, E: LoadFailure>(_ duration: Histogram, _ body: () throws(E) -> T) throws(Stop) -> T {
    let start = Instant.now()
    defer { duration.record(microseconds: Instant.now().microseconds(since: start)) }
    do {
      return try body()
    } catch {
      guard let rejection = error.rejection else { throw .changed }
      throw .rejected(rejection)
    }
  }
}

/// An error that a phase of loading ends with.
private protocol LoadFailure: Error {
  /// The rejection of the bundle; nil if nothing is wrong with it, but the store holds another by now.
  var rejection: Rejection? { get }
}

extension BundleError: LoadFailure {
  fileprivate var rejection: Rejection? { Rejection(self) }
}

extension StoreReadError: LoadFailure {
  fileprivate var rejection: Rejection? {
    switch self {
    case .changed: nil
    case .failed(let error): Rejection(error)
    }
  }
}

extension PlanError: LoadFailure {
  fileprivate var rejection: Rejection? { Rejection(self) }
}

extension GoldenFailure: LoadFailure {
  fileprivate var rejection: Rejection? { Rejection(self) }
}

/// How long each phase of loading takes.
private struct LoadDurations: Sendable {
  let read: Histogram
  let verify: Histogram
  let decode: Histogram
  let choose: Histogram
  let compile: Histogram
  let check: Histogram
  let warm: Histogram

  init(_ metrics: MetricsRegistry) {
    func phase(_ name: String) -> Histogram {
      metrics.histogram(
        "needletail_bundle_load_seconds", help: "How long loading a bundle took, by phase.",
        labels: [("phase", name)], buckets: [1e-4, 1e-3, 5e-3, 1e-2, 5e-2, 0.1, 0.5, 1, 5, 10, 60])
    }
    read = phase("read")
    verify = phase("verify")
    decode = phase("decode")
    choose = phase("choose")
    compile = phase("compile")
    check = phase("check")
    warm = phase("warm")
  }
}
