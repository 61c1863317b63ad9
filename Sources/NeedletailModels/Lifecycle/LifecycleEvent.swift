public import NeedletailCore

/// A version entered a state, or its reason changed.
public struct LifecycleEvent: Sendable, Equatable {
  public let model: ModelID
  public let version: ModelVersion
  public let state: VersionState
  public let reason: String

  public init(model: ModelID, version: ModelVersion, state: VersionState, reason: String) {
    self.model = model
    self.version = version
    self.state = state
    self.reason = reason
  }
}
