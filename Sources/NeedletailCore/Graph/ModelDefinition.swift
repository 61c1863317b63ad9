/// All that is needed to bind raw rows, compute and name the answers: what a bundle carries and an
/// engine compiles.
public struct ModelDefinition: Equatable, Sendable {
  public var schema: FeatureSchema
  public var graph: ModelGraph
  /// Label of every class, by class index; empty for regression.
  public var labels: [String]

  public init(schema: FeatureSchema, graph: ModelGraph, labels: [String]) {
    self.schema = schema
    self.graph = graph
    self.labels = labels
  }
}
