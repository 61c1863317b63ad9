public import NeedletailCore
internal import Synchronization

// The status of models as people and programs see it: made once, by the reconciler, and rendered by all who show it: the
// listing and its JSON, `needletail models`, the status page, Health, and the gauges of Prometheus.

/// Everything that is known of a store and its models at one moment.
public struct StoreStatus: Sendable, Equatable {
  /// By name.
  public var models: [ModelStatus] = []
  /// Files that are no bundle of any model.
  public var problems: [StoreProblem] = []
  /// Set once the first scan is done and every model in it is either live or only has versions that were rejected or
  /// are incomplete; stays set.
  public var isSettled = false
  /// Set once what ``ReadinessPolicy`` wants is there; stays set, for a server that serves must not stop because somebody
  /// uploads a new model.
  public var isReady = false
  /// Why the server is not ready, in one line; empty if it is. A server listens before it has read its store, so a
  /// status that says nothing yet says this.
  public var obstacle = StoreStatus.isBeingRead
  /// Why the server's own state is not on the disk, although it has a place there; empty if it is.
  public var stateProblem = ""

  /// The obstacle until the first scan is done and dealt with.
  static let isBeingRead = "the store's first scan is not finished"

  public init() {}

  /// The status of one model, nil if the store has never held it.
  public func model(_ name: String) -> ModelStatus? { models.first { $0.model.name == name } }

  /// Adds what live versions have counted.
  ///
  /// - Parameters:
  ///   - table: the versions that requests reach now.
  ///   - traffic: what was read of them lately.
  mutating func add(_ table: ModelTable, traffic: [VersionKey: VersionTraffic]) {
    let entries = Dictionary(uniqueKeysWithValues: table.entries.map { ($0.model, $0) })
    for index in models.indices {
      let model = models[index].model
      for place in models[index].versions.indices {
        let version = models[index].versions[place].version
        models[index].versions[place].traffic = traffic[VersionKey(model, version)]
        models[index].versions[place].counts =
          entries[model]?.live.first { $0.version == version }.map { VersionCounts($0) }
      }
    }
  }
}

/// Models that have to serve before a server is ready for traffic. A server that was ready stays so.
public enum ReadinessPolicy: Sendable, Equatable {
  /// Every model of the store that is not retired, and at least one: a new server with a wrong trust file, or an empty
  /// store, must not take the place of one that works.
  case allModels
  /// These models.
  case models([ModelID])
  /// Nothing: it is ready as soon as it has looked at the store.
  case anything
}

/// One model, its versions and its rollout.
public struct ModelStatus: Sendable, Equatable {
  public let model: ModelID
  /// The version that answers a request without a selector.
  public var serving: ModelVersion?
  /// Newest first.
  public var versions: [VersionStatus]
  public var rollout: RolloutStatus

  public init(
    model: ModelID, serving: ModelVersion?, versions: [VersionStatus], rollout: RolloutStatus = RolloutStatus()
  ) {
    self.model = model
    self.serving = serving
    self.versions = versions
    self.rollout = rollout
  }

  /// - Returns: nil if the store does not know this version.
  public func version(_ number: UInt64) -> VersionStatus? { versions.first { $0.version.number == number } }

  /// Why a version that the rollout names does not answer.
  public func reasonNotToAnswer(_ version: ModelVersion) -> String {
    if let entry = rollout.quarantined.first(where: { $0.version == version }) {
      return "quarantined by \(entry.cause.rawValue): \(entry.reason)"
    }
    guard let known = self.version(version.number) else { return "not in the store" }
    return known.reason.isEmpty ? "\(known.state)" : "\(known.state): \(known.reason)"
  }

  /// Why no version answers requests: the rollout says so, or the state of the newest version.
  public var reasonToServeNothing: String {
    if rollout.isRetired { return "retired: rollout.yaml says serve: none" }
    guard let newest = versions.first else { return "the store holds no version" }
    let reason = newest.reason.isEmpty ? "" : ", \(newest.reason)"
    return "no version is live; \(newest.version) is \(newest.state)\(reason)"
  }

  /// The version that the rollout names as shadow, and why it is given no rows, or none of some version; nil if the
  /// rollout names none.
  public var shadow: (version: ModelVersion, problem: String)? {
    if let live = rollout.routing.shadow { return (live, rollout.shadowProblem) }
    guard let wanted = rollout.policy.shadow else { return nil }
    return (wanted, "given no rows: " + (wanted == serving ? "it serves" : reasonNotToAnswer(wanted)))
  }
}

/// One version of a model.
public struct VersionStatus: Sendable, Equatable {
  public let version: ModelVersion
  public var state: VersionState
  /// Why it was rejected, or what it waits for, or what is odd about it; empty otherwise.
  public var reason: String
  /// SHA-256 of the bundle's manifest, lower-case hexadecimal; empty while unknown.
  public var digest: String
  /// Name of the key that signed it; empty if unsigned or not known yet.
  public var signer: String
  /// Unix time at which it entered this state.
  public var sinceMilliseconds: UInt64
  /// Bytes of memory it holds.
  public var residentBytes: Int
  /// False while it is live although its key, its digest or its number was withdrawn.
  public var isTrusted = true
  /// Part of the requests without a selector that it is to answer, 0 to 1.
  public var share = 0.0
  /// Labels whose requests it answers.
  public var labels: [String] = []
  /// Its recent traffic; nil unless it is live and was read.
  package var traffic: VersionTraffic?
  /// Its counts since it is live; nil unless it is live.
  package var counts: VersionCounts?

  public init(
    version: ModelVersion, state: VersionState, reason: String, digest: String, signer: String,
    sinceMilliseconds: UInt64, residentBytes: Int
  ) {
    self.version = version
    self.state = state
    self.reason = reason
    self.digest = digest
    self.signer = signer
    self.sinceMilliseconds = sinceMilliseconds
    self.residentBytes = residentBytes
  }
}

/// How far the rollout of one model got.
public struct RolloutStatus: Sendable, Equatable {
  /// A version that gets no traffic, although the rollout file gives it some.
  public struct Quarantined: Sendable, Equatable {
    public var version: ModelVersion
    public var cause: QuarantineCause
    public var reason: String
    /// Unix time.
    public var sinceMilliseconds: UInt64

    public init(version: ModelVersion, cause: QuarantineCause, reason: String, sinceMilliseconds: UInt64) {
      self.version = version
      self.cause = cause
      self.reason = reason
      self.sinceMilliseconds = sinceMilliseconds
    }
  }

  /// Text of the `rollout.yaml` in force; empty if there is none.
  public var file: String
  /// Why the file that lies in the store is not in force; empty if it is.
  public var problem: String
  /// How requests find their version now.
  public var routing: ModelRouting
  public var quarantined: [Quarantined]
  /// The policy in force, as written.
  public var policy: RolloutPolicy
  /// Versions that served requests without a selector, the last one first.
  public var served: [ModelVersion]
  /// Why the live shadow is given no rows of some version that answers; empty if it is given those of all.
  public var shadowProblem = ""
  /// True while the file in force is one that the store does not hold any more.
  public var isFileMissing: Bool
  /// True while the file cannot be read and no earlier one is known, so that nothing new goes live.
  public var isHeld: Bool

  public init(
    file: String = "", problem: String = "", routing: ModelRouting = ModelRouting(), quarantined: [Quarantined] = [],
    policy: RolloutPolicy = RolloutPolicy(), served: [ModelVersion] = [], isFileMissing: Bool = false,
    isHeld: Bool = false
  ) {
    self.file = file
    self.problem = problem
    self.routing = routing
    self.quarantined = quarantined
    self.policy = policy
    self.served = served
    self.isFileMissing = isFileMissing
    self.isHeld = isHeld
  }

  /// Whether the file in force says that the model serves nothing.
  public var isRetired: Bool { policy.isRetired }

  /// The fault of the rollout file, in one sentence: it is not in force, or it is and is gone; empty if nothing is.
  public var fileProblem: String {
    if !problem.isEmpty {
      return problem
        + (isHeld ? "; no earlier one is known, so nothing new goes live" : "; the last good one is in force")
    }
    return isFileMissing ? "rollout.yaml: gone from the store; it stays in force until another one says otherwise" : ""
  }

  public var limits: GuardLimits? { policy.limits }
}

/// A version entered a state, or its reason changed.
public struct LifecycleEvent: Sendable, Equatable {
  public let model: ModelID
  public let version: ModelVersion
  public let state: VersionState
  public let reason: String

  public init(model: ModelID, version: ModelVersion, state: VersionState, reason: String) {
    self.model = model
    self.version = version
    self.state = state
    self.reason = reason
  }
}

/// Where the control loop posts what it did, and where others read it, wait for it or follow it.
final class StatusBoard: Sendable {
  /// - Parameters:
  ///   - status: as posted last.
  ///   - settledRequest: the last requested scan of which everything has been dealt with.
  typealias Condition = @Sendable (_ status: StoreStatus, _ settledRequest: UInt64) -> Bool

  private struct Waiter {
    let condition: Condition
    let continuation: CheckedContinuation<Void, any Error>
  }

  private struct State {
    var status = StoreStatus()
    var settledRequest: UInt64 = 0
    var isClosed = false
    var waiters: [UInt64: Waiter] = [:]
    var followers: [UInt64: AsyncStream<LifecycleEvent>.Continuation] = [:]
    var lastID: UInt64 = 0

    mutating func nextID() -> UInt64 {
      lastID += 1
      return lastID
    }
  }

  /// Events kept for a follower that does not read; the oldest are dropped first.
  private static let eventsMax = 4096

  private let state = Mutex(State())

  var status: StoreStatus { state.withLock { $0.status } }

  /// Replaces what was posted and resumes all who waited for it.
  /// - Parameter settledRequest: the last scan of which everything has been dealt with; nil: none since the last post.
  func post(_ status: StoreStatus, settledRequest: UInt64?) {
    let resumed = state.withLock { state in
      state.status = status
      if let settledRequest { state.settledRequest = settledRequest }
      let met = state.waiters.filter { $0.value.condition(status, state.settledRequest) }
      for id in met.keys { state.waiters[id] = nil }
      return met.values.map(\.continuation)
    }
    for continuation in resumed { continuation.resume() }
  }

  func post(_ event: LifecycleEvent) {
    let followers = state.withLock { Array($0.followers.values) }
    for follower in followers { follower.yield(event) }
  }

  func events() -> AsyncStream<LifecycleEvent> {
    let (stream, continuation) = AsyncStream.makeStream(
      of: LifecycleEvent.self, bufferingPolicy: .bufferingNewest(Self.eventsMax))
    let id: UInt64? = state.withLock { state in
      guard !state.isClosed else { return nil }
      let id = state.nextID()
      state.followers[id] = continuation
      return id
    }
    guard let id else {
      continuation.finish()
      return stream
    }
    continuation.onTermination = { [weak self] _ in
      self?.state.withLock { $0.followers[id] = nil }
    }
    return stream
  }

  /// - Throws: `CancellationError`, also when the store stops before the condition holds.
  func wait(until condition: @escaping Condition) async throws {
    let id = state.withLock { $0.nextID() }
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
        let result: Result<Void, any Error>? = state.withLock { state in
          if condition(state.status, state.settledRequest) { return .success(()) }
          if state.isClosed || Task.isCancelled { return .failure(CancellationError()) }
          state.waiters[id] = Waiter(condition: condition, continuation: continuation)
          return nil
        }
        if let result { continuation.resume(with: result) }
      }
    } onCancel: {
      let waiter = state.withLock { $0.waiters.removeValue(forKey: id) }
      waiter?.continuation.resume(throwing: CancellationError())
    }
  }

  /// Ends every stream and every wait.
  func close() {
    let (waiters, followers) = state.withLock { state in
      state.isClosed = true
      defer {
        state.waiters = [:]
        state.followers = [:]
      }
      return (Array(state.waiters.values), Array(state.followers.values))
    }
    for waiter in waiters { waiter.continuation.resume(throwing: CancellationError()) }
    for follower in followers { follower.finish() }
  }
}
