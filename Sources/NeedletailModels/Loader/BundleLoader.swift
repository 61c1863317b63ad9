internal import NeedletailBundle
internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailMetrics
internal import NeedletailSystem

/// Brings one bundle at a time from the store to a model that can answer:
/// read into private memory → verify → decode → compile → golden samples → warm. It also frees what is retired.
///
/// The actor has a thread of its own, which decides and waits. The phases run on ``BackgroundThreads``, at idle priority
/// unless they make no progress. What takes a lock that event loops may want (series of metrics, the allocator's heaps)
/// stays on the actor's thread, which no other thread can keep from giving the lock back.
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

  private let executor = ThreadExecutor(name: "nt-loader")
  private let background: BackgroundThreads
  private let retired: RetiredVersions
  /// Event loops and workers, each of which needs scratch for every version.
  private let threads: Int
  private let source: any StoreSource
  private let planOptions: PlanOptions
  private let watchSeconds: Int
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
    background = BackgroundThreads(name: "nt-loader")
    retired = RetiredVersions(executor, background)
    threads = configuration.threads
    planOptions = configuration.planOptions
    watchSeconds = configuration.watchSeconds
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
  ///   - isUrgent: whether the server is not ready yet: nobody calls it, and everybody waits for it.
  ///   - progress: called on the loader's thread at every state in between.
  ///   - released: becomes the model's `onRelease`.
  func load(
    _ request: Reconciler.LoadRequest, trust: TrustPolicy, isUrgent: Bool, progress: @Sendable (Progress) -> Void,
    released: @escaping @Sendable (VersionKey) -> Void
  ) -> Result {
    background.begin(isUrgent: isUrgent)
    defer { background.end() }
    retired.assumeIsolated { $0.free() }
    var parts = Parts()
    defer { background.run { parts = Parts() } }
    do throws(Stop) {
      let (model, manifest) = try build(request, trust: trust, &parts, progress: progress, released: released)
      return .live(model, manifest)
    } catch {
      switch error {
      case .changed: return .changed
      case .rejected(let rejection): return .rejected(rejection)
      }
    }
  }

  /// Times the kernels of a live version again, beside the runs that answer calls.
  ///
  /// - Returns: how many layers are computed in another way from now on; nil: there was no memory to time them.
  func chooseKernels(of model: LiveModel) -> Int? {
    background.begin()
    defer { background.end() }
    return background.run { try? model.compiled.plan.chooseKernels() }
  }

  /// Verifies a bundle without loading it.
  func inspect(_ request: Reconciler.LoadRequest, trust: TrustPolicy) -> Reconciler.InspectOutcome {
    background.begin()
    var parts = Parts()
    defer { background.run { parts = Parts() } }
    do throws(Stop) {
      return .verified(digest: try verify(request, trust: trust, &parts).identity.digest)
    } catch {
      switch error {
      case .changed: return .changed
      case .rejected(let rejection): return .rejected(rejection)
      }
    }
  }

  private enum Stop: Error {
    case changed
    case rejected(Rejection)
  }

  /// What one load holds in memory. Each part is let go as soon as the next one is made, and the rest at the end, by a
  /// background thread.
  private struct Parts {
    var copy: StoredCopy?
    var bundle: VerifiedBundle?
    var contents: BundleContents?
    var compiled: CompiledModel?
    var workspaces: WorkspaceSet?
  }

  private func build(
    _ request: Reconciler.LoadRequest, trust: TrustPolicy, _ parts: inout Parts, progress: @Sendable (Progress) -> Void,
    released: @escaping @Sendable (VersionKey) -> Void
  ) throws(Stop) -> (LiveModel, SignedManifest) {
    let origin = try verify(request, trust: trust, &parts)
    let key = request.key
    progress(Progress(key: key, state: .loading, identity: origin.identity))
    let digest = origin.identity.digest
    if let rejection = accepted.refusal(of: key, digest: digest, keyID: origin.keyID, isLate: request.isLate) {
      throw .rejected(rejection)
    }
    try decode(request, &parts)
    try compile(request, &parts)
    progress(Progress(key: key, state: .checking, identity: nil))
    try check(request, &parts)
    progress(Progress(key: key, state: .warming, identity: nil))
    let warmUp = try warm(request, &parts)
    guard let contents = parts.contents, let compiled = parts.compiled, let workspaces = parts.workspaces else {
      preconditionFailure("a load went on without its parts")
    }
    remember(key, digest: digest, keyID: origin.keyID)
    let watch = watch(compiled, contents.drift, key)
    let model = LiveModel(
      model: key.model, version: key.version, compiled: compiled, digest: digest, signer: origin.identity.signer,
      createdMilliseconds: origin.createdMilliseconds, trainingMetrics: contents.metrics,
      lineage: contents.lineage, drift: contents.drift, watch: watch, warmUp: warmUp,
      counters: ModelCounters(model: key.model, version: key.version, compiled: compiled, metrics: metrics),
      workspaces: workspaces,
      residentBytes: compiled.plan.residentBytes + WorkspaceSet.bytes(compiled.plan, threads: threads),
      onRelease: { [retired] memory in retired.add(memory) { released(key) } },
      onHandOver: { [retired] model in retired.add(model) })
    return (model, origin.manifest)
  }

  /// Live statistics of a version, with their series; nil where none are wanted or its bundle gives nothing to compare with.
  private func watch(_ compiled: CompiledModel, _ baseline: DriftBaseline?, _ key: VersionKey) -> VersionWatch? {
    guard watchSeconds > 0, let baseline,
      let watch = VersionWatch(compiled, baseline: baseline, seconds: watchSeconds)
    else { return nil }
    WatchSeries.add(
      watch, labels: [("model", key.model.name), ("version", key.version.description)], to: metrics)
    return watch
  }

  /// Where a verified bundle comes from.
  private struct Origin {
    let identity: Reconciler.Identity
    let keyID: String
    let createdMilliseconds: UInt64
    let manifest: SignedManifest
  }

  private func verify(
    _ request: Reconciler.LoadRequest, trust: TrustPolicy, _ parts: inout Parts
  ) throws(Stop) -> Origin {
    let stored = request.bundle
    try reserve(unmetNeeds[stored.fingerprint] ?? stored.bytes, for: "a file of \(stored.bytes)", of: request)
    try step(durations.read) { () throws(StoreReadError) in parts.copy = try source.read(stored, limits: limits) }
    guard let copy = parts.copy else { preconditionFailure("a bundle was read and is not there") }
    do throws(Stop) {
      return try step(durations.verify) { () throws(BundleError) in
        let bundle = try VerifiedBundle(
          copy.file, trust: trust, expecting: (request.key.model, request.key.version), limits: limits,
          nowMilliseconds: Moment.now().milliseconds)
        parts.bundle = bundle
        return Origin(
          identity: Reconciler.Identity(digest: bundle.manifest.digest, signer: bundle.signer),
          keyID: bundle.signingKey?.publicKey.keyID ?? "", createdMilliseconds: bundle.manifest.createdMilliseconds,
          manifest: bundle.signedManifest)
      }
    } catch {
      // A refusal counts only if the store still holds the bytes that were refused.
      guard source.fingerprint(of: request.key) == copy.fingerprint else { throw .changed }
      throw error
    }
  }

  /// Decodes the file, whose bytes are let go.
  private func decode(_ request: Reconciler.LoadRequest, _ parts: inout Parts) throws(Stop) {
    guard let manifest = parts.bundle?.manifest else { preconditionFailure("a load went on without its bundle") }
    try reserve(LoadCost.decoding(manifest), for: "decoding", of: request)
    try step(durations.decode) { () throws(BundleError) in
      parts.contents = try parts.bundle?.decode()
      parts.bundle = nil
      parts.copy = nil
    }
  }

  private func compile(_ request: Reconciler.LoadRequest, _ parts: inout Parts) throws(Stop) {
    guard let definition = parts.contents?.definition else { preconditionFailure("a load went on without a graph") }
    let choice = try step(durations.choose) { () throws(PlanError) in
      try PlanChoice.make(for: definition.graph, policy: precision, isa: planOptions.isa)
    }
    // Ensembles of millions of nodes take tens of milliseconds to count.
    let packing = background.run { LoadCost.packing(definition.graph, dequantised: choice.dequantises) }
    try reserve(packing, for: "packed weights", of: request)
    try step(durations.compile) { () throws(PlanError) in
      parts.compiled = try CompiledModel(definition, options: planOptions, choice: choice)
    }
  }

  /// Checks the golden samples. The weights as they were decoded are let go: the plan has them packed.
  private func check(_ request: Reconciler.LoadRequest, _ parts: inout Parts) throws(Stop) {
    if let plan = parts.compiled?.plan {
      try reserve(UInt64(clamping: WorkspaceSet.bytes(plan, threads: 0)), for: "scratch of a check", of: request)
    }
    try step(durations.check) { () throws(GoldenFailure) in
      guard let contents = parts.contents, let compiled = parts.compiled else {
        preconditionFailure("a load went on without a plan to check")
      }
      parts.compiled = try compiled.passing(contents.golden, of: contents.definition, options: planOptions)
      parts.contents?.definition.graph.tensors = []
      parts.contents?.golden = []
    }
  }

  /// Makes scratch for every thread and runs the plan at every size.
  private func warm(_ request: Reconciler.LoadRequest, _ parts: inout Parts) throws(Stop) -> [WarmUpRun] {
    guard let plan = parts.compiled?.plan else { preconditionFailure("a load went on without a plan") }
    try reserve(
      UInt64(clamping: WorkspaceSet.bytes(plan, threads: threads)), for: "scratch of \(threads + 1) threads",
      of: request)
    return try step(durations.warm) { () throws(PlanError) in
      let workspaces = try WorkspaceSet(plan, threads: threads)
      parts.workspaces = workspaces
      return WarmUp.run(plan, in: workspaces.background)
    }
  }

  /// Makes sure that the memory which the next step allocates is free.
  private func reserve(
    _ bytes: UInt64, for what: String, of request: Reconciler.LoadRequest
  ) throws(Stop) {
    var refusal = budget.refusal(of: bytes, for: what)
    if refusal != nil {
      // What was freed may not have been given back yet.
      retired.assumeIsolated { $0.free() }
      Heap.trim(ifKept: 0)
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

  /// Runs one phase on a background thread and records how long it took, whatever came of it.
  private func step<T, E: LoadFailure>(_ duration: Histogram, _ body: () throws(E) -> T) throws(Stop) -> T {
    let start = Instant.now()
    defer { duration.record(microseconds: Instant.now().microseconds(since: start)) }
    do {
      return try background.run(body)
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
