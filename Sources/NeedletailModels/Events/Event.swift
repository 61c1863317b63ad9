public import NeedletailCore

/// Something that happened to a model, to the store or to the server, as people are told of it.
public struct Event: Sendable, Equatable {
  /// What it happened to.
  public enum Kind: String, Sendable, CaseIterable {
    /// A version entered a state, or its reason changed.
    case version
    /// Another version answers requests that name none.
    case serving
    /// A file in the store that nothing can be made of, or the store itself.
    case store
    /// Whom the server trusts: keys, revocations, minimum versions.
    case trust
    /// Labels, split, shadow, guard, quarantine, undo.
    case rollout
    /// Somebody has to look: a guard that fired, a revoked key that still serves.
    case alarm
    /// The process: started, ready, draining.
    case server
  }

  public enum Severity: String, Sendable, CaseIterable, Comparable {
    case debug, info, notice, warning, error

    private var rank: Int {
      switch self {
      case .debug: 0
      case .info: 1
      case .notice: 2
      case .warning: 3
      case .error: 4
      }
    }

    public static func < (a: Severity, b: Severity) -> Bool { a.rank < b.rank }
  }

  /// One named value, e.g. `state` or `reason`. Values may be foreign text: escape them where they are shown.
  public struct Fact: Sendable, Equatable {
    public let name: String
    public let value: String

    public init(_ name: String, _ value: String) {
      self.name = name
      self.value = value
    }
  }

  /// From 1, without gaps: a reader that finds one knows that the log has dropped what lay between.
  public let sequence: UInt64
  /// Unix time.
  public let milliseconds: UInt64
  public let kind: Kind
  public let severity: Severity
  /// What happened, in words of ours.
  public let message: String
  public let model: ModelID?
  public let version: ModelVersion?
  public let facts: [Fact]

  /// - Returns: nil if the event has no such fact.
  public func fact(_ name: String) -> String? { facts.first { $0.name == name }?.value }
}
