public import NeedletailCore

/// The answer to `Rollout`: how requests of one model find their version.
public struct RolloutReport: Sendable, Equatable {
  public struct Arm: Sendable, Equatable {
    public var version: UInt64 = 0
    public var labels: [String] = []
    /// Of the requests without a selector.
    public var shareMillionths: UInt32 = 0
    public var requests: UInt64 = 0
    /// For a reason that may lie with the version.
    public var failed: UInt64 = 0
    public var rows: UInt64 = 0
    public var nonFinite: UInt64 = 0
    /// Mean of the batches that its requests were computed in.
    public var computeNanoseconds: UInt64 = 0

    public init() {}
  }

  /// A version that gets no traffic, whatever the file says.
  public struct SetAside: Sendable, Equatable {
    public var version: UInt64 = 0
    /// `undo`, `guard_errors`, `guard_nan` or `guard_latency`; a newer server may know more.
    public var cause = ""
    public var reason = ""
    /// Unix time.
    public var sinceMilliseconds: UInt64 = 0

    public init() {}
  }

  /// A name that requests may use in place of a number.
  public struct Label: Sendable, Equatable {
    public var name = ""
    /// As the file says.
    public var version: UInt64 = 0
    /// What requests by this label meet now; 0: they are refused.
    public var answering: UInt64 = 0
    /// Of the version that the file says; nil: the store does not hold it.
    public var state: VersionState?
    /// Why it does not answer; empty where it does.
    public var reason = ""

    public init() {}
  }

  /// What a version would have answered.
  public struct Shadow: Sendable, Equatable {
    public var version: UInt64 = 0
    public var rows: UInt64 = 0
    /// Rows with another class.
    public var flips: UInt64 = 0
    /// Rows that were not compared.
    public var skipped: UInt64 = 0
    public var nonFinite: UInt64 = 0
    /// The largest absolute difference of two numbers.
    public var maxDifference = 0.0
    public var computeNanoseconds: UInt64 = 0
    /// Why it is given nothing, or nothing of some version; empty where it is given all.
    public var problem = ""

    public init() {}
  }

  public var model = ""
  /// 0 if there is none.
  public var servingVersion: UInt64 = 0
  /// Every live version, newest first.
  public var arms: [Arm] = []
  public var setAside: [SetAside] = []
  public var shadow: Shadow?
  /// Text of the `rollout.yaml` in force; empty: none.
  public var file = ""
  /// Why the file in the store is not in force; empty if it is.
  public var problem = ""
  /// What was undone or set aside is remembered across restarts.
  public var isDurable = false
  /// By name, also those whose version is not live.
  public var labels: [Label] = []

  public init() {}
}
