import NeedletailCore
import NeedletailEngine
import NeedletailMetrics
import NeedletailModels
import NeedletailTestSupport
import Synchronization

/// Live models without a store.
enum LiveModelFixtures {
  static func model(
    _ name: String = "digits", _ version: UInt64 = 1, metrics: MetricsRegistry = MetricsRegistry(shards: 1),
    onRelease: @escaping @Sendable () -> Void = {}
  ) throws -> LiveModel {
    let model = try ModelID(name)
    let number = ModelVersion(version)!
    let compiled = try CompiledModel(BundleFixtures.line(weight: Float(version)))
    return LiveModel(
      model: model, version: number, compiled: compiled,
      digest: "digest-\(version)", signer: "", createdMilliseconds: 0, trainingMetrics: [:], lineage: nil, drift: nil,
      warmUp: [], counters: ModelCounters(model: model, version: number, metrics: metrics),
      workspaces: try WorkspaceSet(compiled.plan, threads: 0), residentBytes: compiled.plan.residentBytes,
      onRelease: { _ in onRelease() })
  }

  /// One model.
  /// - Parameter serving: the version that serves; nil: the newest.
  static func table(
    _ name: String = "digits", _ live: [LiveModel], serving: UInt64? = nil, routing: ModelRouting = ModelRouting()
  ) throws -> ModelTable {
    let live = live.sorted { $0.version > $1.version }
    return ModelTable([
      .init(
        model: try ModelID(name), live: live, serving: serving.flatMap { ModelVersion($0) } ?? live.first?.version,
        routing: routing)
    ])
  }
}

/// A number that several threads write.
final class SharedCount: Sendable {
  private let count = Atomic<Int>(0)
  var value: Int { count.load(ordering: .sequentiallyConsistent) }
  func increment() { count.wrappingAdd(1, ordering: .sequentiallyConsistent) }
}
