internal import CNeedletailKernels
public import CNeedletailProto
internal import Glibc
internal import NeedletailCore

/// Each column through a curve of its own, which brings the numbers of skewed columns closer together. NaN stays NaN;
/// what would be beyond ±3.4e38 is that.
public struct Curves: GraphOperation {
  public enum Curve: Equatable, Sendable {
    case none
    /// sign(x) · log(1 + |x|).
    case logarithm
    /// The power transformation of Yeo and Johnson (2000) with exponent λ.
    case yeoJohnson(Double)
    /// Share of the knots below, 0 to 1; `isNormal` makes it the quantile of the standard normal distribution, within
    /// ±5.2. The knots are quantiles at equal distances, ascending.
    case quantiles([Double], isNormal: Bool)

    fileprivate var knots: [Double] { if case .quantiles(let knots, _) = self { knots } else { [] } }

    fileprivate var kernelKind: nt_curve_kind {
      switch self {
      case .none: NT_CURVE_NONE
      case .logarithm: NT_CURVE_LOG
      case .yeoJohnson: NT_CURVE_YEO_JOHNSON
      case .quantiles(_, false): NT_CURVE_QUANTILE_UNIFORM
      case .quantiles(_, true): NT_CURVE_QUANTILE_NORMAL
      }
    }

    fileprivate func kernel(_ knots: UnsafePointer<Double>?) -> nt_curve {
      var curve = nt_curve(kind: kernelKind.rawValue, knot_count: UInt32(self.knots.count), lambda: 0, knots: knots)
      if case .yeoJohnson(let exponent) = self { curve.lambda = exponent }
      return curve
    }

    /// The curve at each number, as plans compute it.
    public func values(at numbers: [Double]) -> [Double] {
      knots.withUnsafeBufferPointer { knots in
        var curve = kernel(knots.baseAddress)
        return numbers.map { nt_curve_at(&curve, $0) }
      }
    }
  }

  /// Knots of one curve at most.
  public static let knotsMax = 1 << 16
  /// Exponents of Yeo and Johnson are within ± this: beyond, one number of a column outweighs all others.
  public static let exponentMax = 100.0

  public var curves: [Curve]

  public init(curves: [Curve]) { self.curves = curves }

  public init(_ message: Needletail__V1__Curves) throws(GraphFault) {
    var exponents = MessageValues.array(message.lambda, message.n_lambda)[...]
    var counts = MessageValues.integers(message.knots, message.n_knots)[...]
    var knots = MessageValues.array(message.knot, message.n_knot)[...]
    var curves: [Curve] = []
    for (column, kind) in MessageValues.array(message.curve, message.n_curve).enumerated() {
      switch kind {
      case NEEDLETAIL__V1__CURVE__CURVE_NONE: curves.append(.none)
      case NEEDLETAIL__V1__CURVE__CURVE_LOG: curves.append(.logarithm)
      case NEEDLETAIL__V1__CURVE__CURVE_YEO_JOHNSON:
        guard let exponent = exponents.popFirst() else {
          throw GraphFault(kind: .mismatch, "curve of column \(column): expected an exponent, found none")
        }
        curves.append(.yeoJohnson(exponent))
      case NEEDLETAIL__V1__CURVE__CURVE_QUANTILE_UNIFORM, NEEDLETAIL__V1__CURVE__CURVE_QUANTILE_NORMAL:
        guard let count = counts.popFirst(), count <= knots.count else {
          throw GraphFault(kind: .mismatch, "curve of column \(column): expected its knots, found \(knots.count)")
        }
        curves.append(
          .quantiles(Array(knots.prefix(count)), isNormal: kind == NEEDLETAIL__V1__CURVE__CURVE_QUANTILE_NORMAL))
        knots.removeFirst(count)
      default:
        throw GraphFault(
          kind: .unsupported, "curve of column \(column): expected 0 to 4, found \(kind.rawValue)")
      }
    }
    guard exponents.isEmpty, counts.isEmpty, knots.isEmpty else {
      throw GraphFault(
        kind: .mismatch,
        "curves: expected as many exponents and knots as the curves have, found \(exponents.count) and \(knots.count) more"
      )
    }
    self.init(curves: curves)
  }

  public func message(in memory: MessageBuilder) -> UnsafeMutablePointer<Needletail__V1__Curves>? {
    memory.build(needletail__v1__curves__init) {
      $0.n_curve = curves.count
      $0.curve = memory.array(curves.map { Needletail__V1__Curve($0.kernelKind.rawValue) })
      let exponents = curves.compactMap { if case .yeoJohnson(let exponent) = $0 { exponent } else { nil } }
      $0.n_lambda = exponents.count
      $0.lambda = memory.array(exponents)
      let tables = curves.compactMap { if case .quantiles(let knots, _) = $0 { knots } else { nil } }
      $0.n_knots = tables.count
      $0.knots = memory.array(tables.map { UInt32(clamping: $0.count) })
      let knots = Array(tables.joined())
      $0.n_knot = knots.count
      $0.knot = memory.array(knots)
    }
  }

  public func infer(_ context: OperationContext) throws(GraphFault) -> [ValueType] {
    let type = try context.columns(of: .float32, .float64)
    guard curves.count == type.columns else {
      throw context.fault("expected \(type.columns) curves, found \(curves.count)")
    }
    for (column, curve) in curves.enumerated() {
      switch curve {
      case .none, .logarithm: break
      case .yeoJohnson(let exponent):
        guard abs(exponent) <= Self.exponentMax else {
          throw context.fault("curve of column \(column): expected an exponent within ±100, found \(exponent)")
        }
      case .quantiles(let knots, _):
        guard (2...Self.knotsMax).contains(knots.count) else {
          throw context.fault(
            "curve of column \(column): expected 2 to \(Self.knotsMax) knots, found \(knots.count)")
        }
        guard knots.allSatisfy({ abs($0) <= 3.5e38 }), zip(knots, knots.dropFirst()).allSatisfy(<=) else {
          throw context.fault("curve of column \(column): expected ascending knots within ±3.4e38, found others")
        }
      }
    }
    return [type]
  }

  public func lower(_ node: Int, into plan: inout PlanBuilder) throws(PlanError) {
    let (input, output) = (plan.graph.nodes[node].inputs[0], plan.graph.nodes[node].outputs[0])
    let name = plan.graph.nodes[node].name
    var kernels: [nt_curve] = []
    for curve in curves {
      let knots = curve.knots.isEmpty ? nil : try plan.storage.copy(curve.knots, for: name)
      kernels.append(curve.kernel(knots))
    }
    let kernel = nt_curves(curves: try plan.storage.copy(kernels, for: name), columns: UInt32(curves.count))
    let run: nt_step_function =
      if plan.graph.values[input].type.element == .float64 { nt_curves_f64_step } else { nt_curves_f32_step }
    plan.add(
      try plan.step(node, run, kernel, reading: [input], writing: [output], words: words, kernel: "curves"))
  }

  public var parameterCount: Int {
    curves.reduce(0) { sum, curve in
      switch curve {
      case .none, .logarithm: sum
      case .yeoJohnson: sum + 1
      case .quantiles(let knots, _): sum + knots.count
      }
    }
  }
  public func packedBytes(_ context: OperationContext) -> Int {
    // Each table begins on a boundary of its own.
    curves.count * MemoryLayout<nt_curve>.stride
      + curves.reduce(0) { $0 + ($1.knots.count + Int(NT_ALIGNMENT) / 8) * MemoryLayout<Double>.stride }
  }
  public var words: String { "curves" }

  public func origins(of inputs: [[Int]], _ context: OperationContext) -> [Int]? { inputs[0] }

  public func reference(_ inputs: [[Double]], _ context: OperationContext) -> [[Double]] {
    [
      zip(inputs[0], curves).map { x, curve in
        guard !x.isNaN else { return x }
        return min(max(Self.reference(curve, x), -3.4e38), 3.4e38)
      }
    ]
  }

  private static func reference(_ curve: Curve, _ x: Double) -> Double {
    switch curve {
    case .none: return x
    case .logarithm: return x < 0 ? -log1p(-x) : log1p(x)
    case .yeoJohnson(let exponent):
      func power(_ size: Double, _ exponent: Double) -> Double {
        exponent == 0 ? log1p(size) : expm1(exponent * log1p(size)) / exponent
      }
      return x < 0 ? -power(-x, 2 - exponent) : power(x, exponent)
    case .quantiles(let knots, let isNormal):
      let last = Double(knots.count - 1)
      var share: Double
      let equal = knots.indices.filter { knots[$0] == x }
      if let first = equal.first, let final = equal.last {
        share = Double(first + final) / 2 / last
      } else if let above = knots.firstIndex(where: { $0 > x }) {
        let part = above == 0 ? 0 : (x - knots[above - 1]) / (knots[above] - knots[above - 1])
        share = above == 0 ? 0 : (Double(above - 1) + part) / last
      } else {
        share = 1
      }
      guard isNormal else { return x <= knots[0] ? 0 : x >= knots[knots.count - 1] ? 1 : share }
      if x + 1e-7 > knots[knots.count - 1] { share = 1 }
      if x - 1e-7 < knots[0] { share = 0 }
      return normalQuantile(min(max(share, 1e-7), 1 - 1e-7))
    }
  }

  /// The quantile by bisection of the C library's error function.
  private static func normalQuantile(_ share: Double) -> Double {
    var (low, high) = (-6.0, 6.0)
    for _ in 0..<80 {
      let middle = (low + high) / 2
      if 0.5 * erfc(-middle / 2.0.squareRoot()) < share { low = middle } else { high = middle }
    }
    return (low + high) / 2
  }
}
