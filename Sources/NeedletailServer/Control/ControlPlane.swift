internal import NeedletailCore
internal import NeedletailMetrics
internal import NeedletailModels
internal import NeedletailWire

/// Answers everything but predictions. Ordinary code for any thread: it makes text and takes locks.
final class ControlPlane: Sendable {
  let readiness: Readiness
  private let store: ModelStore
  private let registry: ModelRegistry
  private let metrics: MetricsRegistry

  init(readiness: Readiness, store: ModelStore, registry: ModelRegistry, metrics: MetricsRegistry) {
    self.readiness = readiness
    self.store = store
    self.registry = registry
    self.metrics = metrics
  }

  /// Runs on the concurrent pool, off the event loops.
  @concurrent func answer(_ call: ControlCall) async -> ControlAnswer {
    switch call {
    case .health: return .health(health)
    case .metrics: return .metrics(metricsText)
    case .listModels: return .models(models)
    case .describeModel(let reference):
      do throws(ServingError) {
        return .description(try describe(reference))
      } catch {
        return .error(error)
      }
    }
  }

  /// Prometheus text format 0.0.4.
  var metricsText: String { metrics.render() }

  var health: HealthReport {
    HealthReport(live: true, ready: readiness.obstacle == nil, models: store.status.models.map(ModelStatusReport.init))
  }

  var models: ModelListReport {
    let status = store.status
    return ModelListReport(
      models: status.models.map(ModelStatusReport.init),
      problems: status.problems.map { StoreProblemReport(path: $0.path, reason: $0.reason) })
  }

  /// - Throws: `.notFound`, or `.unavailable` while the version is on its way.
  func describe(_ reference: ModelReference) throws(ServingError) -> ModelDescription {
    ModelDescription(try find(reference))
  }

  private func find(_ reference: ModelReference) throws(ServingError) -> LiveModel {
    let table = registry.current
    switch reference.selector {
    case .serving: return try table.model(named: reference.model)
    case .version(let number): return try table.model(named: reference.model, selector: .version(number))
    case .label(var label):
      let found: Result<LiveModel, ServingError> = label.withUTF8 { bytes in
        do throws(ServingError) {
          return .success(try table.model(named: reference.model, selector: .label(UnsafeRawBufferPointer(bytes))))
        } catch {
          return .failure(error)
        }
      }
      return try found.get()
    }
  }
}
