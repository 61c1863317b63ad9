public import NeedletailCore

/// What the sections of a bundle say, decoded.
public struct BundleContents: Sendable, Equatable {
  public var definition: ModelDefinition
  public var golden: [GoldenSample]
  public var drift: DriftBaseline?
  /// Training metrics by name, e.g. `test.accuracy`; finite.
  public var metrics: [String: Double]
  public var lineage: Lineage?

  public init(
    definition: ModelDefinition, golden: [GoldenSample] = [], drift: DriftBaseline? = nil,
    metrics: [String: Double] = [:], lineage: Lineage? = nil
  ) {
    self.definition = definition
    self.golden = golden
    self.drift = drift
    self.metrics = metrics
    self.lineage = lineage
  }
}
