public import NeedletailCore
public import NeedletailEngine

/// One version of one model, ready to answer. Immutable; freed when the last table or batch that refers to it is gone.
public final class LiveModel: Sendable {
  public let model: ModelID
  public let version: ModelVersion
  public let compiled: CompiledModel
  /// SHA-256 of the bundle's manifest, lower-case hexadecimal.
  public let digest: String
  /// Name of the key that signed it; empty if unsigned.
  public let signer: String
  /// Unix time at which the bundle was made.
  public let createdMilliseconds: UInt64
  /// Figures of the training run, e.g. `test.accuracy`.
  public let trainingMetrics: [String: Double]
  public let lineage: Lineage?
  /// Distribution of the inputs in training; nil if the bundle does not have it.
  public let drift: DriftBaseline?
  /// Bytes of memory this version holds.
  public let residentBytes: Int
  /// Runs that warming measured: one per batch bucket, ascending by rows.
  public let warmUp: [WarmUpRun]
  /// Estimate for any batch, from ``warmUp``.
  public let cost: PlanCost
  public let counters: ModelCounters

  private let onRelease: @Sendable () -> Void

  /// - Parameter onRelease: called once, on the thread that drops the last reference, when the memory is being returned.
  public init(
    model: ModelID, version: ModelVersion, compiled: CompiledModel, digest: String, signer: String,
    createdMilliseconds: UInt64, trainingMetrics: [String: Double], lineage: Lineage?, drift: DriftBaseline?,
    warmUp: [WarmUpRun], counters: ModelCounters, onRelease: @escaping @Sendable () -> Void = {}
  ) {
    self.model = model
    self.version = version
    self.compiled = compiled
    self.digest = digest
    self.signer = signer
    self.createdMilliseconds = createdMilliseconds
    self.trainingMetrics = trainingMetrics
    self.lineage = lineage
    self.drift = drift
    residentBytes = compiled.plan.residentBytes
    self.warmUp = warmUp
    cost = PlanCost(warmUp)
    self.counters = counters
    self.onRelease = onRelease
  }

  deinit { onRelease() }
}
