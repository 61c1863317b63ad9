public import NeedletailCore

/// How far the rollout of one model got.
public struct RolloutStatus: Sendable, Equatable {
  /// A version that gets no traffic, whatever the file says.
  public struct SetAside: Sendable, Equatable {
    public var version: ModelVersion
    public var cause: SetAsideCause
    public var reason: String
    /// Unix time.
    public var sinceMilliseconds: UInt64

    public init(version: ModelVersion, cause: SetAsideCause, reason: String, sinceMilliseconds: UInt64) {
      self.version = version
      self.cause = cause
      self.reason = reason
      self.sinceMilliseconds = sinceMilliseconds
    }
  }

  /// Text of the `rollout.yaml` in force; empty: none.
  public var file: String
  /// Why the file that lies in the store is not in force; empty if it is.
  public var problem: String
  /// What requests meet now.
  public var routing: ModelRouting
  public var setAside: [SetAside]
  /// What is in force, as written.
  public var policy: RolloutPolicy
  /// What served requests without a selector, the last one first.
  public var served: [ModelVersion]

  public init(
    file: String = "", problem: String = "", routing: ModelRouting = ModelRouting(), setAside: [SetAside] = [],
    policy: RolloutPolicy = RolloutPolicy(), served: [ModelVersion] = []
  ) {
    self.file = file
    self.problem = problem
    self.routing = routing
    self.setAside = setAside
    self.policy = policy
    self.served = served
  }

  public var limits: GuardLimits? { policy.limits }

  /// The part of requests without a selector that a version answers, 0 to 1.
  public func share(of version: ModelVersion, serving: ModelVersion?) -> Double {
    guard !routing.shares.isEmpty else { return version == serving ? 1 : 0 }
    return routing.shares.reduce(0) { sum, share in
      share.version == version ? sum + Double(share.points) / Double(RoutingPoint.count) : sum
    }
  }
}
