internal import NeedletailCore
internal import NeedletailModels
internal import NeedletailWire

/// The shape of `GET /status.json`. Models, problems and events are those of `needletail models --json` and
/// `needletail events --json`.
struct ServerStatusJSON: Encodable {
  struct Server: Encodable {
    var version: String
    var isa: String
    var ready: Bool
    /// Why not.
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

  /// What requests of a model meet, of models that have a rollout.
  struct Rollout: Encodable {
    struct SetAside: Encodable {
      var version: UInt64
      var cause: String
      var reason: String
      var sinceMs: UInt64
    }

    var model: String
    /// The version of every label; null while it has none.
    var labels: [String: UInt64?]
    /// Part of the requests that name no version, 0 to 1, by version.
    var split: [String: Double]
    var shadow: UInt64?
    /// Why the file in the store is not in force.
    var problem: String?
    var setAside: [SetAside]
  }

  var server: Server
  var models: [JSONObject]
  var problems: [JSONObject]
  var history: [History]
  var rollouts: [Rollout]
  var events: JSONObject

  init(_ status: ServerStatus) {
    server = Server(
      version: status.version, isa: status.isa, ready: status.obstacle == nil, obstacle: status.obstacle,
      nowMs: status.nowMilliseconds, startedMs: status.startedMilliseconds, residentBytes: status.residentBytes,
      allowUnsigned: status.allowsUnsigned)
    let list = ModelListReport(status.store, traffic: status.traffic)
    models = list.models.map(\.json)
    problems = list.problems.map(\.json)
    history = status.traffic.sorted { $0.key < $1.key }.map { key, traffic in
      History(
        model: key.model.name, version: key.version.number,
        requestsPerSecond: traffic.points.map(\.requestsPerSecond), p99Us: traffic.points.map(\.p99Microseconds))
    }
    rollouts = status.store.models.filter { $0.rollout != RolloutStatus() }.map(Rollout.init)
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
    problem = status.rollout.problem.isEmpty ? nil : status.rollout.problem
    setAside = status.rollout.setAside.map {
      SetAside(
        version: $0.version.number, cause: $0.cause.rawValue, reason: $0.reason, sinceMs: $0.sinceMilliseconds)
    }
  }
}
