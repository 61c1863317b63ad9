internal import CNeedletailKernels
internal import Glibc

/// A family of kernels. Raw values are those of `NEEDLETAIL_ISA`.
///
/// Every family gives the same bits for the same plan; they differ in speed only.
public enum InstructionSet: String, Sendable, CaseIterable {
  case scalar, avx2, avx512vnni
  /// AVX-512 VNNI, with the tiles of AMX for int8 layers of eight rows and more. The system must grant the tiles.
  case amx
  case neon
  /// NEON with the matrix multiply of FEAT_I8MM.
  case neonI8mm = "neon-i8mm"

  /// Family that `NEEDLETAIL_ISA` asks for, else the fastest one this CPU and its system support.
  /// Decided once per process.
  public static var selected: InstructionSet { decision }

  /// True if this CPU, and the system it runs under, can execute these kernels.
  public var isSupported: Bool { nt_isa_supported(kernelSet) }

  /// The families this machine can run, slowest first.
  public static var supported: [InstructionSet] { allCases.filter(\.isSupported) }

  /// Families worth timing for a model, the likely fastest first: the one `NEEDLETAIL_ISA` asks for, else all
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
    case .amx: NT_ISA_AMX
    case .neon: NT_ISA_NEON
    case .neonI8mm: NT_ISA_NEON_I8MM
    }
  }
}

/// The process's one pool of threads, which share the layers that are worth it.
///
/// A run never waits for another run: threads share a layer only while fewer runs than threads are
/// under way, and no answer depends on whether they did. Idle threads sleep.
public enum EnginePool {
  /// Starts it. The first call decides, for the whole process; without it every run stays on its
  /// caller's thread.
  ///
  /// - Parameter threads: those that may compute at a time, the caller's among them.
  /// - Returns: how many there are: fewer than asked for where the system refuses more, or where the
  ///   pool was started before.
  @discardableResult
  public static func start(threads: Int) -> Int { nt_pool_start(max(1, threads)) }

  /// Threads that may share a layer, the caller's among them; 1 before ``start(threads:)``.
  public static var threads: Int { nt_pool_threads() }

  /// Layers that were shared so far.
  public static var sharedLayers: UInt64 { nt_pool_jobs() }
}

/// Counts NaN and infinities among numbers.
public enum NonFinite {
  /// - Parameter count: below 2³².
  /// - Complexity: O(count). All bits of the exponent are set in what is no finite number, so one more in
  ///   its last place carries into the sign: no branch, no comparison, and the compiler takes eight at once.
  public static func count(_ values: UnsafePointer<Float>, count: Int) -> Int {
    var found: UInt32 = 0
    for index in 0..<count {
      found &+= (values[index].bitPattern & 0x7fff_ffff &+ 0x0080_0000) &>> 31
    }
    return Int(found)
  }
}
