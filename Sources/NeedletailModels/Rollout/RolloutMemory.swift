internal import NeedletailCore
internal import NeedletailYAML

/// What must not be forgotten of one model's rollout when the server stops: which versions served, which are
/// quarantined, and the last rollout file that was good.
package struct RolloutMemory: Sendable, Equatable, Codable {
  /// A version that gets no traffic, though the rollout file gives it some.
  package struct Quarantined: Sendable, Equatable, Codable {
    package var version: UInt64
    package var cause: QuarantineCause
    /// One sentence.
    package var reason: String
    /// Unix time.
    package var sinceMilliseconds: UInt64
  }

  /// Text of the last good rollout file; empty if there was none.
  package var file = ""
  package var quarantined: [Quarantined] = []
  /// Versions that served requests without a selector, the last one first.
  package var served: [UInt64] = []

  /// Names in the state file, which earlier releases wrote.
  private enum CodingKeys: String, CodingKey {
    case file
    case quarantined = "setAside"
    case served
  }

  package init() {}

  var quarantinedVersions: Set<ModelVersion> { Set(quarantined.compactMap { ModelVersion($0.version) }) }

  var servedVersions: [ModelVersion] { served.compactMap { ModelVersion($0) } }

  /// Notes that a version serves.
  mutating func serve(_ version: ModelVersion) {
    guard served.first != version.number else { return }
    served.removeAll { $0 == version.number }
    served.insert(version.number, at: 0)
    if served.count > Limits.rolloutVersionsMax { served.removeLast() }
  }

  var isEmpty: Bool { file.isEmpty && quarantined.isEmpty && served.isEmpty }
}

/// Who quarantined a version.
public enum QuarantineCause: String, Sendable, Codable, CaseIterable {
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

/// What the reconciler keeps of one model's rollout.
package struct ModelRollout: Sendable, Equatable {
  /// The policy in force: that of the last file that was good, or none.
  package var policy = RolloutPolicy()
  package var memory = RolloutMemory()
  /// Why the file that lies there now is not in force; nil if it is.
  package var problem: String?

  package init() {}

  /// A server that comes back goes on with what was in force.
  package init(memory: RolloutMemory) {
    self.memory = memory
    guard !memory.file.isEmpty else { return }
    do throws(YAMLError) {
      policy = try RolloutFile(parsing: memory.file).policy
    } catch {
      // Another release of this server wrote it: the file in the store is judged anew.
      self.memory.file = ""
    }
  }
}
