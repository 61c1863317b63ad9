/// One step of a compiled plan, for people.
public struct PlanStep: Sendable, Equatable, CustomStringConvertible {
  /// Bytes of the arena at the plan's largest batch.
  public typealias Buffer = Range<Int>

  /// Name of the graph's node that it computes, the first of those that were fused.
  public let node: String
  /// What it does, e.g. `dense relu int8`.
  public let operation: String
  /// Entry of the kernel table that runs it.
  public let kernel: String
  public let inputColumns: Int
  public let outputColumns: Int
  /// Packed weights, with scales and biases.
  public let weightBytes: Int
  /// Of a matrix product, else 0.
  public let multiplyAddsPerRow: Int
  /// What it reads and writes; two steps share bytes if one is done with them before the other begins.
  public let input: Buffer
  public let output: Buffer
  /// Rows from which the threads of the engine's pool share it; nil for what always runs alone.
  public let sharedFromRows: Int?

  public var description: String { "\(node): \(operation), \(inputColumns) → \(outputColumns)" }
}
