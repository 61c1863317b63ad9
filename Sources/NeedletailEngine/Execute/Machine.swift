internal import CNeedletailKernels
internal import Glibc

/// A family of kernels. Raw values are those of `NEEDLETAIL_ISA`.
///
/// Every family gives the same bits for the same plan; they differ in speed only.
public enum InstructionSet: String, Sendable, CaseIterable {
  case scalar, avx2, avx512vnni, neon
  /// NEON with the matrix multiply of FEAT_I8MM.
  case neonI8mm = "neon-i8mm"

  /// What `NEEDLETAIL_ISA` asks for, else the fastest family this CPU and its system support.
  /// Decided once per process.
  public static var selected: InstructionSet { decision }

  /// True if this CPU, and the system it runs under, can execute these kernels.
  public var isSupported: Bool { nt_isa_supported(kernelSet) }

  /// The families this machine can run, slowest first.
  public static var supported: [InstructionSet] { allCases.filter(\.isSupported) }

  /// Those worth timing for a model, the likely fastest first: what `NEEDLETAIL_ISA` asks for, else all
  /// that this CPU has vector instructions for.
  public static var candidates: [InstructionSet] {
    guard getenv(environmentVariable).map({ String(cString: $0).isEmpty }) ?? true else { return [selected] }
    let vector = supported.reversed().filter { $0 != .scalar && $0 != selected }
    return [selected] + vector
  }

  /// Refuses a `NEEDLETAIL_ISA` that names no family, or one this CPU cannot run. Call it first thing
  /// in `main`: ``selected`` ignores such a request.
  public static func validateEnvironment() throws(PlanError) {
    if let text = getenv(environmentVariable) { _ = try requested(String(cString: text)) }
  }

  /// Reads a value of `NEEDLETAIL_ISA`; empty asks for nothing.
  static func requested(_ text: String) throws(PlanError) -> InstructionSet? {
    guard !text.isEmpty else { return nil }
    let names = supported.map { $0.rawValue }.joined(separator: ", ")
    guard let isa = InstructionSet(rawValue: text) else {
      throw PlanError("\(environmentVariable): expected one of \(names), found \(String(text.prefix(64)))")
    }
    guard isa.isSupported else {
      throw PlanError("\(environmentVariable): this CPU does not support \(text), expected one of \(names)")
    }
    return isa
  }

  private static let environmentVariable = "NEEDLETAIL_ISA"

  private static let decision: InstructionSet = {
    if let text = getenv(environmentVariable), let isa = try? requested(String(cString: text)) { return isa }
    let best = nt_isa_best()
    return allCases.first { $0.kernelSet == best } ?? .scalar
  }()

  var kernelSet: nt_isa {
    switch self {
    case .scalar: NT_ISA_SCALAR
    case .avx2: NT_ISA_AVX2
    case .avx512vnni: NT_ISA_AVX512VNNI
    case .neon: NT_ISA_NEON
    case .neonI8mm: NT_ISA_NEON_I8MM
    }
  }
}
