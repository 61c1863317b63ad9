public import NeedletailCore

/// A definition with its binder and its plan: everything that answers rows.
public final class CompiledModel: Sendable {
  /// Schema, labels and the graph's structure; the canonical weights are dropped, for the plan holds
  /// them packed.
  public let definition: ModelDefinition
  public let plan: Plan
  public let binder: FeatureBinder

  public init(_ definition: ModelDefinition, options: PlanOptions = PlanOptions()) throws(PlanError) {
    fatalError("not yet")
  }

  /// Answers raw rows, for tools and tests: chunks by `plan.rowsMax`, allocates.
  ///
  /// - Returns: per output, the values of all rows one after the other (row-major).
  public func answers(for rows: [[Cell]]) throws(ServingError) -> [(name: String, answer: GoldenSample.Answer)] {
    fatalError("not yet")
  }
}
