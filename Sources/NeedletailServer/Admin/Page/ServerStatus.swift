internal import NeedletailModels

/// All that the status page shows, at one moment.
struct ServerStatus: Sendable {
  var version: String
  var isa: String
  /// Nil: ready.
  var obstacle: String?
  /// Unix time.
  var nowMilliseconds: UInt64
  var startedMilliseconds: UInt64
  /// Memory of the process; nil where the system does not say.
  var residentBytes: UInt64?
  var allowsUnsigned: Bool
  var store: StoreStatus
  var traffic: [VersionKey: VersionTraffic]
  var events: EventLog.Page
}
