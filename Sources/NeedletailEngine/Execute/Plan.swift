public import NeedletailCore

/// What a plan writes under which name.
public struct PlanOutput: Sendable {
  public let name: String
  public let kind: ModelGraph.Output.Kind
  /// 1 for class outputs.
  public let columns: Int
}

/// A compiled model: packed weights and a flat list of steps. Shared and read-only; any number of
/// threads may run it, each with its own ``Workspace``.
public final class Plan: Sendable {
  public let inputColumns: Int
  public let outputs: [PlanOutput]
  public let rowsMax: Int
  public let isa: InstructionSet
  /// `int8`, `fp32` or `mixed`: what the dense layers compute in.
  public let precision: String
  /// Packed weights and tables.
  public let residentBytes: Int
  /// Scratch of one ``Workspace``.
  public let workspaceBytes: Int

  public init(_ graph: ModelGraph, inputColumns: Int, options: PlanOptions = PlanOptions()) throws(PlanError) {
    fatalError("not yet")
  }

  /// One line a step, for people.
  public var steps: [String] { fatalError("not yet") }

  /// Computes `rows` rows from the workspace's input to its outputs: one C call, no allocation, no lock.
  ///
  /// - Parameter rows: 1 … `rowsMax`.
  public func run(_ workspace: borrowing Workspace, rows: Int) { fatalError("not yet") }
}
