internal import CNeedletailKernels

/// A family of kernels. Raw values are those of `NEEDLETAIL_ISA`.
///
/// Every family gives the same bits for the same plan; they differ in speed only.
public enum InstructionSet: String, Sendable, CaseIterable {
  case scalar, avx2, avx512vnni, neon

  /// The best family this CPU and its system support, or what `NEEDLETAIL_ISA` asks for.
  /// Decided once per process.
  public static var selected: InstructionSet { .scalar }

  /// Refuses a `NEEDLETAIL_ISA` that names no family, or one this CPU cannot run. Call it first thing
  /// in `main`.
  public static func validateEnvironment() throws(PlanError) {}
}
