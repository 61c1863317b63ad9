/// How a plan is compiled.
public struct PlanOptions: Sendable {
  /// Largest number of rows of one run, 1 … `Limits.batchRowsMaxDefault`; scratch grows with it.
  public var rowsMax: Int = 256
  /// Allows OpenBLAS for fp32 layers at large batches: faster there, but a row's last bits may then
  /// depend on how many rows ran with it.
  public var relaxed: Bool = false
  /// The kernels to use; nil takes ``InstructionSet/selected``.
  public var isa: InstructionSet?

  public init() {}
}
