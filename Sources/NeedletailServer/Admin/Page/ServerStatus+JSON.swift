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

  var server: Server
  var models: [ModelJSON]
  var problems: [ModelListJSON.Problem]
  var history: [History]
  var events: EventListJSON

  init(_ status: ServerStatus) {
    server = Server(
      version: status.version, isa: status.isa, ready: status.obstacle == nil, obstacle: status.obstacle,
      nowMs: status.nowMilliseconds, startedMs: status.startedMilliseconds, residentBytes: status.residentBytes,
      allowUnsigned: status.allowsUnsigned)
    let list = ModelListJSON(ModelListReport(status.store, traffic: status.traffic))
    models = list.models
    problems = list.problems
    history = status.traffic.sorted { $0.key < $1.key }.map { key, traffic in
      History(
        model: key.model.name, version: key.version.number,
        requestsPerSecond: traffic.points.map(\.requestsPerSecond), p99Us: traffic.points.map(\.p99Microseconds))
    }
    events = EventListJSON(EventListReport(status.events, beganMilliseconds: status.startedMilliseconds))
  }
}
