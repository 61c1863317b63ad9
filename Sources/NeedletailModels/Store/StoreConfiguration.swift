public import NeedletailBundle
internal import NeedletailCore
public import NeedletailEngine

/// What a ``ModelStore`` watches and how it loads.
public struct StoreConfiguration: Sendable {
  /// Where the store learns whom to trust.
  public enum Trust: Sendable {
    case policy(TrustPolicy)
    /// A trust file, read at start and again whenever it changes.
    case file(path: String)
  }

  /// `STORE/<model>/<version>.ntb`. It need not exist yet.
  public var directory: String
  public var trust: Trust
  /// Accepts bundles without a signature, whatever a trust file says.
  public var allowUnsigned = false
  /// Full scans at least this often: file system events are hints only.
  public var rescanInterval: Duration = .milliseconds(Limits.rescanMillisecondsDefault)
  public var planOptions = PlanOptions()
  /// Whether a version may be computed in another precision than its bundle stores.
  public var precision = PrecisionPolicy.stored
  public var limits = BundleLimits()
  /// Previous versions that stay live beside the serving one, for an instant way back.
  public var keep = 1
  /// Bytes of memory that the process may have at most, as far as loading goes; nil: as many as the
  /// control group and the machine give.
  public var memoryBytesMax: UInt64?
  /// Where the store keeps what must outlive the process.
  public var state = StateDirectory.inMemory

  public init(directory: String, trust: Trust) {
    self.directory = directory
    self.trust = trust
  }
}
