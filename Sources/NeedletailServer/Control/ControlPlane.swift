internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailMetrics
internal import NeedletailModels
internal import NeedletailWire

/// Answers everything but predictions. Ordinary code for any thread: it makes text and takes locks.
final class ControlPlane: Sendable {
  let readiness: Readiness
  let store: ModelStore
  let registry: ModelRegistry
  let metrics: MetricsRegistry
  private let traffic: TrafficService
  private let allowsUnsigned: Bool

  init(
    readiness: Readiness, store: ModelStore, registry: ModelRegistry, metrics: MetricsRegistry, traffic: TrafficService,
    allowsUnsigned: Bool
  ) {
    self.readiness = readiness
    self.store = store
    self.registry = registry
    self.metrics = metrics
    self.traffic = traffic
    self.allowsUnsigned = allowsUnsigned
  }

  /// Runs on the concurrent pool, off the event loops.
  @concurrent func answer(_ call: ControlCall) async -> ControlAnswer {
    switch call {
    case .health: return .health(health)
    case .metrics: return .metrics(metricsText)
    case .listModels: return .models(models)
    case .events(let after, let limit): return .events(events(after: after, limit: limit))
    case .rollout(let model, let isUndo):
      do throws(ServingError) {
        return .rollout(try await isUndo ? undoRollout(of: model) : rollout(of: model))
      } catch {
        return .error(error)
      }
    case .describeModel(let reference):
      do throws(ServingError) {
        return .description(try describe(reference))
      } catch {
        return .error(error)
      }
    }
  }

  /// For others that have something to tell.
  var eventLog: EventLog { store.eventLog }

  /// Prometheus text format 0.0.4.
  var metricsText: String { metrics.render() }

  var health: HealthReport {
    HealthReport(live: true, ready: readiness.obstacle == nil, models: models.models)
  }

  var models: ModelListReport { ModelListReport(store.status, traffic: traffic.traffic) }

  /// For the status page.
  var status: ServerStatus {
    ServerStatus(
      version: needletailVersion, isa: InstructionSet.selected.rawValue, obstacle: readiness.obstacle,
      nowMilliseconds: Moment.now().milliseconds, startedMilliseconds: store.eventLog.beganMilliseconds,
      residentBytes: ProcessFigures.residentBytes().map { UInt64(max(0, $0)) }, allowsUnsigned: allowsUnsigned,
      store: store.status, traffic: traffic.traffic,
      events: store.eventLog.last(Limits.eventsMax))
  }

  /// - Throws: `.notFound`, or `.unavailable` while the version is on its way.
  func describe(_ reference: ModelReference) throws(ServingError) -> ModelDescription {
    let live = try find(reference)
    var description = ModelDescription(live)
    let status = store.status.model(live.model.name)?.version(live.version.number)
    description.status = status.map {
      VersionReport($0, traffic: traffic.traffic[VersionKey(live.model, live.version)])
    }
    return description
  }

  /// At most `limit` events after a sequence number, oldest first; 0: all.
  func events(after sequence: UInt64, limit: UInt32) -> EventListReport {
    let log = store.eventLog
    return EventListReport(
      log.page(after: sequence, limit: limit == 0 ? log.capacity : Int(limit)), beganMilliseconds: log.beganMilliseconds
    )
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
