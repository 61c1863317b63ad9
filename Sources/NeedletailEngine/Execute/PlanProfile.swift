internal import CNeedletailKernels

/// Where the time of a plan goes at one batch size.
public struct PlanProfile: Sendable, Equatable {
  public let rows: Int
  /// Units of those rows: tokens in models that read text as tokens.
  public let units: Int
  /// Median time of one run.
  public let microseconds: Double
  /// Median time of each step, which includes about 20 ns for reading the clock.
  public let stepMicroseconds: [Double]
}

extension Plan {
  /// Runs made-up rows again and again: speed does not depend on what is in them.
  ///
  /// - Parameters:
  ///   - rows: 1 … `rowsMax`.
  ///   - budget: how long to measure; at least five runs are.
  /// - Throws: if the system has no memory for scratch.
  public func profile(rows: Int, within budget: Duration) throws(PlanError) -> PlanProfile {
    let workspace = try Workspace(self)
    fillInput(of: workspace, rows: rows)
    run(workspace, rows: rows)
    let clock = ContinuousClock()
    let end = clock.now + budget
    var whole: [Double] = []
    var steps = [[Double]](repeating: [], count: self.steps.count)
    while whole.count < 5 || clock.now < end {
      whole.append(clock.measure { run(workspace, rows: rows) }.microseconds)
      for (step, nanoseconds) in timedRun(workspace, rows: rows).enumerated() {
        steps[step].append(Double(nanoseconds) / 1000)
      }
    }
    return PlanProfile(
      rows: rows, units: workspace.tokenCount(rows: rows), microseconds: Self.median(whole),
      stepMicroseconds: steps.map { Self.median($0) })
  }

  private func fillInput(of workspace: borrowing Workspace, rows: Int) {
    workspace.fillTexts(rows: rows)
    for index in 0..<rows * inputColumns {
      if input.element == .float64 {
        workspace.input.storeBytes(of: Double(index % 13) - 6, toByteOffset: 8 * index, as: Double.self)
      } else {
        workspace.input.storeBytes(of: Float(index % 13) - 6, toByteOffset: 4 * index, as: Float.self)
      }
    }
  }

  private static func median(_ values: [Double]) -> Double {
    let sorted = values.sorted()
    return sorted.isEmpty ? 0 : sorted[sorted.count / 2]
  }
}

/// Most that this CPU can do on one thread, measured now: the limits that a plan's steps are held
/// against.
public struct Roofline: Sendable, Equatable {
  /// int8 multiply-adds a second of the engine's own kernel, with operands in the first two caches.
  public let int8PerSecond: Double
  /// fp32 multiply-adds a second of the engine's own kernel, with operands in the first two caches.
  public let float32PerSecond: Double
  /// Bytes read a second from a buffer as large as the plan's weights.
  public let bytesPerSecond: Double

  /// Takes some 50 ms.
  /// - Parameter weightBytes: of the plan.
  /// - Throws: if memory is wanting.
  public static func measure(weightBytes: Int, isa: InstructionSet) throws(PlanError) -> Roofline {
    let (rows, columns, depth) = (64, 256, 512)
    let slice = try LayerSlice(columns: columns, depth: depth, rowsMax: rows)
    let multiplyAdds = Double(rows * columns * depth)
    func rate(isInt8: Bool) throws(PlanError) -> Double {
      1e6 * multiplyAdds
        / (try slice.time(rows: rows, isInt8: isInt8, quantises: false, isa: isa, for: .milliseconds(15)))
    }
    let bytes = max(1 << 14, min(weightBytes, 1 << 28))
    let storage = PlanStorage()
    let memory = try storage.allocate(bytes: bytes, for: nil)
    let best = withExtendedLifetime(storage) {
      Stopwatch.best(within: .milliseconds(20)) { _ = nt_read_all(memory, bytes) }
    }
    return Roofline(
      int8PerSecond: try rate(isInt8: true), float32PerSecond: try rate(isInt8: false),
      bytesPerSecond: 1e6 * Double(bytes) / best)
  }

  /// The least microseconds in which a step could compute the rows of a profile, and what holds it.
  public func limit(of step: PlanStep, in profile: PlanProfile) -> (microseconds: Double, isArithmetic: Bool)? {
    guard step.multiplyAddsPerItem > 0 else { return nil }
    let rate = step.kernel == "s8_gemm" ? int8PerSecond : float32PerSecond
    let items = step.isPerUnit ? profile.units : profile.rows
    let arithmetic = 1e6 * Double(step.multiplyAddsPerItem) * Double(items) / rate
    let memory = 1e6 * Double(step.weightBytes) / bytesPerSecond
    return (max(arithmetic, memory), arithmetic >= memory)
  }
}

enum Stopwatch {
  /// Least number of runs of one measurement, so that a single interruption does not decide it.
  private static let runsMin = 3

  /// Microseconds of one run: the best of those that fit the budget, of at least three after a first.
  static func best(within budget: Duration, _ body: () -> Void) -> Double {
    let clock = ContinuousClock()
    body()
    var best = Duration.seconds(3600)
    var runs = 0
    let end = clock.now + budget
    repeat {
      best = min(best, clock.measure(body))
      runs += 1
    } while runs < runsMin || clock.now < end
    return best.microseconds
  }
}

extension Duration {
  var microseconds: Double { 1e6 * Double(components.seconds) + Double(components.attoseconds) / 1e12 }
}
