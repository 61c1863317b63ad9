internal import FoundationEssentials
internal import NeedletailCore
internal import NeedletailModels
internal import NeedletailWire

/// Everything that the status page shows, at one moment.
struct ServerStatus: Sendable {
  var version: String
  var isa: String
  /// Why the server is not ready; nil if it is.
  var obstacle: String?
  /// Unix time.
  var nowMilliseconds: UInt64
  var startedMilliseconds: UInt64
  /// Memory of the process; nil where the system does not say.
  var residentBytes: UInt64?
  var allowsUnsigned: Bool
  var store: StoreStatus
  var events: EventLog.Page
  /// How far each live version that is watched has moved from its training.
  var drift: [VersionDrift] = []
  /// How good the answers of live versions were whose outcomes are known.
  var feedback: [VersionFeedback] = []
  /// Experiments that run, and the last one of each model that ended.
  var experiments: [ExperimentReport] = []
}

/// The shape of `GET /status.json`. Models, problems and events are those of `needletail models --json` and
/// `needletail events --json`.
struct ServerStatusJSON: Encodable {
  struct Server: Encodable {
    var version: String
    var isa: String
    var ready: Bool
    /// Why the server is not ready; absent if it is.
    var obstacle: String?
    var nowMs: UInt64
    var startedMs: UInt64
    var residentBytes: UInt64?
    var allowUnsigned: Bool
  }

  /// The last minute of a live version, oldest first.
  struct History: Encodable {
    var model: String
    var version: UInt64
    var requestsPerSecond: [Double]
    /// Null where nothing was answered.
    var p99Us: [UInt32?]
  }

  /// How requests of a model find their version, for models that have a rollout.
  struct Rollout: Encodable {
    struct Quarantined: Encodable {
      var version: UInt64
      var cause: String
      var reason: String
      var sinceMs: UInt64
    }

    var model: String
    /// The version that answers each label; null while none does.
    var labels: [String: UInt64?]
    /// Part of the requests without a selector, 0 to 1, by version.
    var split: [String: Double]
    var shadow: UInt64?
    /// The fault of the rollout file, in one sentence; absent if nothing is.
    var problem: String?
    /// Named `set_aside` in JSON.
    var setAside: [Quarantined]
  }

  /// How far a watched version has moved from its training.
  struct Drift: Encodable {
    var model: String
    var version: UInt64
    var rows: Int
    var columns: Int
    var warnings: Int
    var moved: [VersionDrift.Column]
  }

  var server: Server
  var models: [JSONObject]
  var problems: [JSONObject]
  var history: [History]
  var rollouts: [Rollout]
  var drift: [Drift]
  var feedback: [VersionFeedback.JSON]
  var experiments: [ExperimentJSON]
  var events: JSONObject

  init(_ status: ServerStatus) {
    server = Server(
      version: status.version, isa: status.isa, ready: status.obstacle == nil, obstacle: status.obstacle,
      nowMs: status.nowMilliseconds, startedMs: status.startedMilliseconds, residentBytes: status.residentBytes,
      allowUnsigned: status.allowsUnsigned)
    let list = ModelListReport(status.store)
    models = list.models.map(\.json)
    problems = list.problems.map(\.json)
    history = status.store.models.flatMap { model in
      model.versions.reversed().compactMap { version in
        version.traffic.map { traffic in
          History(
            model: model.model.name, version: version.version.number,
            requestsPerSecond: traffic.points.map(\.requestsPerSecond), p99Us: traffic.points.map(\.p99Microseconds))
        }
      }
    }
    rollouts = status.store.models.filter { $0.rollout != RolloutStatus() }.map(Rollout.init)
    drift = status.drift.map {
      Drift(
        model: $0.model.name, version: $0.version.number, rows: $0.rows, columns: $0.columns, warnings: $0.warnings,
        moved: $0.moved)
    }
    feedback = status.feedback.map(\.json)
    experiments = status.experiments.map(ExperimentJSON.init)
    events = EventListReport(status.events, beganMilliseconds: status.startedMilliseconds).json
  }
}

extension ServerStatusJSON.Rollout {
  init(_ status: ModelStatus) {
    let routing = status.rollout.routing
    model = status.model.name
    labels = Dictionary(routing.labels.map { ($0.name, $0.version?.number) }) { first, _ in first }
    split = Dictionary(
      routing.shares.map { ($0.version.description, Double($0.points) / Double(RoutingPoint.count)) }
    ) { first, _ in first }
    shadow = routing.shadow?.number
    problem = status.rollout.fileProblem.isEmpty ? nil : status.rollout.fileProblem
    setAside = status.rollout.quarantined.map {
      Quarantined(
        version: $0.version.number, cause: $0.cause.rawValue, reason: $0.reason, sinceMs: $0.sinceMilliseconds)
    }
  }
}

/// A point in time as the page shows it, in UTC.
struct PageTime {
  /// `2026-11-21T11:30:00Z`.
  let timestamp: String

  init(milliseconds: UInt64) {
    timestamp = Date(timeIntervalSince1970: Double(milliseconds) / 1000).formatted(.iso8601)
  }

  /// `11:30:00`.
  var clock: String { String(timestamp.dropLast().suffix(8)) }

  /// Writes a text whose tooltip is the whole time.
  func write(_ text: String, _ html: inout HTMLWriter) {
    html.element("time", ["datetime": timestamp, "title": timestamp], text)
  }
}
