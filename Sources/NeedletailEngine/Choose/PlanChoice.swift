/// Whether loading may compute in another precision than the bundle stores.
public enum PrecisionPolicy: String, Sendable, CaseIterable {
  /// What the trainer chose and its golden samples were recorded with: the same integers everywhere.
  case stored
  /// int8 layers as fp32 where this CPU is faster that way and the golden samples pass.
  case auto
}

/// How a model is computed on this CPU, and the timings behind that.
public struct PlanChoice: Sendable, Equatable, CustomStringConvertible {
  public let isa: InstructionSet
  /// int8 weights become fp32 when the plan is compiled.
  public let dequantises: Bool
  /// `int8`, `fp32` or `mixed`; empty for a graph without dense layers.
  public let precision: String
  public let timings: [PlanTiming]
  /// What else there is to say, e.g. why the faster way was not taken; may be empty.
  public let note: String

  /// Another way must take less than this part of the time at every batch size timed: timings are noisy,
  /// and a model should not change its ways from load to load.
  static let worthwhilePart = 0.9

  /// Times the dense layers of a graph and chooses.
  ///
  /// Instruction sets give the same bits, so the fastest may always be taken; another precision does
  /// not, so that is up to the policy.
  /// - Parameters:
  ///   - graph: validated.
  ///   - isa: the only kernels to consider; nil takes ``InstructionSet/candidates``.
  public static func make(
    for graph: ModelGraph, policy: PrecisionPolicy, isa: InstructionSet? = nil
  ) throws(PlanError) -> PlanChoice {
    let candidates = isa.map { [$0] } ?? InstructionSet.candidates
    return PlanChoice(
      policy: policy, preferred: candidates[0], timings: try PlanTrial(graph, candidates: candidates).run())
  }

  /// The decision alone.
  /// - Parameter preferred: the instruction set to stay with unless another is clearly faster.
  init(policy: PrecisionPolicy, preferred: InstructionSet, timings: [PlanTiming]) {
    self.timings = timings
    func way(_ isa: InstructionSet, asStored: Bool) -> [PlanTiming] {
      timings.filter { $0.isa == isa && $0.isAsStored == asStored }
    }
    var best = way(preferred, asStored: true)
    for timing in timings where timing.isAsStored && timing.isa != best.first?.isa {
      let other = way(timing.isa, asStored: true)
      if Self.isClearlyFaster(other, than: best) { best = other }
    }
    isa = best.first?.isa ?? preferred
    let converted = way(isa, asStored: false)
    let isFasterConverted = Self.isClearlyFaster(converted, than: best)
    dequantises = policy == .auto && isFasterConverted
    precision = (dequantises ? converted : best).first?.precision ?? ""
    note = isFasterConverted && !dequantises ? "fp32 would be faster: models.precision auto would take it" : ""
  }

  private init(_ other: PlanChoice, precision: String, note: String) {
    isa = other.isa
    dequantises = false
    self.precision = precision
    timings = other.timings
    self.note = note
  }

  /// This choice with the precision of the bundle after all, on the same kernels.
  public func storedInstead(because reason: String) -> PlanChoice {
    PlanChoice(
      self, precision: timings.first { $0.isa == isa && $0.isAsStored }?.precision ?? "",
      note: "fp32 was faster but failed: \(reason)")
  }

  private static func isClearlyFaster(_ some: [PlanTiming], than others: [PlanTiming]) -> Bool {
    !some.isEmpty && some.count == others.count
      && zip(some, others).allSatisfy { $0.microseconds < worthwhilePart * $1.microseconds }
  }

  /// One line, e.g. `int8 on avx2: 12.1 µs for 1 row, 80.4 for 32; fp32 on avx2: 20.3, 150`.
  public var description: String {
    guard !timings.isEmpty else { return "\(isa.rawValue); no dense layers to time" }
    var ways: [[PlanTiming]] = []
    for timing in timings {
      if let last = ways.last?.first, last.isa == timing.isa, last.isAsStored == timing.isAsStored {
        ways[ways.count - 1].append(timing)
      } else {
        ways.append([timing])
      }
    }
    let isChosen = { (way: [PlanTiming]) in way[0].isa == isa && way[0].isAsStored != dequantises }
    let ordered = ways.filter(isChosen) + ways.filter { !isChosen($0) }
    let text = ordered.map { way in
      "\(way[0].precision) on \(way[0].isa.rawValue): "
        + way.map { "\(Self.short($0.microseconds)) µs for \($0.rows) row\($0.rows == 1 ? "" : "s")" }
        .joined(separator: ", ")
    }.joined(separator: "; ")
    return note.isEmpty ? text : "\(text); \(note)"
  }

  /// Three figures.
  private static func short(_ microseconds: Double) -> String {
    let digits = microseconds < 10 ? 100.0 : microseconds < 100 ? 10 : 1
    let rounded = (microseconds * digits).rounded() / digits
    return digits == 1 ? String(Int(min(rounded, 1e12))) : String(rounded)
  }
}
