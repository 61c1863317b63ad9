import Logging
import NeedletailBundle
import NeedletailCore
import NeedletailEngine
import NeedletailMetrics
import NeedletailModels
import NeedletailTestSupport

/// A model store at work on a temporary directory.
struct RunningStore {
  let files: TemporaryStore
  let store: ModelStore
  let registry: ModelRegistry
  let metrics: MetricsRegistry

  /// What a request for x = 1 is answered with now.
  func answer(_ model: String = "m", _ selector: ModelSelector = .serving) throws -> (version: UInt64, value: Double) {
    let live = try registry.current.model(named: model, selector: selector)
    let answers = try live.compiled.answers(for: [[.number(1)]])
    guard case .numbers(let values) = answers[0].answer else { return (live.version.number, .nan) }
    return (live.version.number, values[0])
  }

  func waitUntilServing(_ version: UInt64, _ model: String = "m") async throws {
    try await store.wait { $0.model(model)?.serving?.number == version }
  }

  func waitUntil(_ version: UInt64, is state: VersionState, _ model: String = "m") async throws {
    try await store.wait { $0.model(model)?.version(version)?.state == state }
  }

  func version(_ number: UInt64, _ model: String = "m") -> VersionStatus? {
    store.status.model(model)?.version(number)
  }

  /// The value of one series, nil if it is not there.
  func metric(_ series: String) -> Double? {
    metrics.render().split(separator: "\n").first { $0.hasPrefix(series + " ") }
      .flatMap { Double($0.dropFirst(series.count + 1)) }
  }

  /// Runs a store until `body` is done, from the moment that it serves version 1 of `m`.
  static func serving(_ body: (RunningStore) async throws -> Void) async throws {
    try await run { files, _ in
      try files.publish("m", 1)
    } _: { running in
      try await running.waitUntilServing(1)
      try await body(running)
    }
  }

  /// Runs a store until `body` is done.
  ///
  /// - Parameters:
  ///   - files: the directory of an earlier store, for one that starts again.
  ///   - prepare: what lies in the directory, and how it is configured, before the store starts.
  ///   - created: looks at the store before it runs.
  static func run(
    on files: TemporaryStore? = nil,
    prepare: (TemporaryStore, inout StoreConfiguration) throws -> Void = { _, _ in },
    created: (ModelStore) -> Void = { _ in },
    _ body: (RunningStore) async throws -> Void
  ) async throws {
    let files = try files ?? TemporaryStore()
    var configuration = StoreConfiguration(source: .directory(path: files.path), trust: .policy(BundleFixtures.trust))
    // Far away: what these tests see happens because of events, or because they ask for a scan.
    configuration.rescanInterval = .seconds(3600)
    configuration.planOptions.rowsMax = 8
    try prepare(files, &configuration)
    let registry = ModelRegistry(readers: 2)
    let metrics = MetricsRegistry(shards: 1)
    let store = try ModelStore(
      configuration: configuration, registry: registry, metrics: metrics,
      logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    created(store)
    try await withThrowingTaskGroup { group in
      group.addTask { try await store.run() }
      try await body(RunningStore(files: files, store: store, registry: registry, metrics: metrics))
      group.cancelAll()
    }
  }
}
