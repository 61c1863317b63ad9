internal import NeedletailCore

/// What must not be forgotten of one model's rollout when the server stops: which versions served,
/// which were set aside, and the last rollout file that was good.
package struct RolloutMemory: Sendable, Equatable, Codable {
  /// A version that gets no traffic, though the rollout file gives it some.
  package struct SetAside: Sendable, Equatable, Codable {
    package var version: UInt64
    package var cause: SetAsideCause
    /// One sentence.
    package var reason: String
    /// Unix time.
    package var sinceMilliseconds: UInt64
  }

  /// Text of the last good rollout file; empty: there was none.
  package var file = ""
  package var setAside: [SetAside] = []
  /// What served requests without a selector, the last one first.
  package var served: [UInt64] = []

  package init() {}

  var asideVersions: Set<ModelVersion> { Set(setAside.compactMap { ModelVersion($0.version) }) }

  var servedVersions: [ModelVersion] { served.compactMap { ModelVersion($0) } }

  mutating func serve(_ version: ModelVersion) {
    guard served.first != version.number else { return }
    served.removeAll { $0 == version.number }
    served.insert(version.number, at: 0)
    if served.count > Limits.rolloutVersionsMax { served.removeLast() }
  }

  var isEmpty: Bool { file.isEmpty && setAside.isEmpty && served.isEmpty }
}

/// Who set a version aside.
public enum SetAsideCause: String, Sendable, Codable, CaseIterable {
  /// `rollout undo`.
  case undo
  case guardErrors = "guard_errors"
  case guardNaN = "guard_nan"
  case guardLatency = "guard_latency"
}

/// The state file of all models.
package struct RolloutMemoryFile: Sendable, Equatable, Codable {
  package static let name = "rollout.json"

  package var models: [String: RolloutMemory] = [:]

  package init() {}
}
