public import Logging
public import NeedletailBundle
public import NeedletailMetrics
public import ServiceLifecycle

/// Keeps a registry in step with a directory of bundles.
public final class ModelStore: Service {
  /// - Throws: if the trust file cannot be read: a server must not start without knowing whom to trust.
  public init(
    configuration: StoreConfiguration, registry: ModelRegistry, metrics: MetricsRegistry, logger: Logger
  ) throws(BundleError) {
    fatalError("not yet")
  }

  /// Watches and loads until the service is shut down or its task cancelled. What is live stays so.
  public func run() async throws { fatalError("not yet") }

  /// A snapshot; anyone may ask.
  public var status: StoreStatus { fatalError("not yet") }

  /// Whether the first scan is done and all that it found has been dealt with.
  public var isReady: Bool { status.isReady }

  /// Returns when `condition` holds, at once if it does already.
  /// - Throws: `CancellationError`.
  public func wait(until condition: @escaping @Sendable (StoreStatus) -> Bool) async throws { fatalError("not yet") }

  /// Scans now, and returns when all that the scan found is reflected in ``status``.
  public func rescan() async { fatalError("not yet") }

  /// Every transition of every version from now on.
  public func events() -> AsyncStream<LifecycleEvent> { fatalError("not yet") }
}
