/// Where the time of a plan goes at one batch size.
public struct PlanProfile: Sendable, Equatable {
  public let rows: Int
  /// Of one run, the median.
  public let microseconds: Double
  /// Of each step, the median; the clock itself is in them with some 20 ns.
  public let stepMicroseconds: [Double]
}

extension Plan {
  /// Runs made-up rows again and again: speed does not depend on what is in them.
  ///
  /// - Parameters:
  ///   - rows: 1 … `rowsMax`.
  ///   - budget: how long to measure; at least five runs are.
  public func profile(rows: Int, within budget: Duration) -> PlanProfile {
    let workspace = Workspace(self)
    for index in 0..<rows * inputColumns { workspace.input[index] = Float(index % 13) - 6 }
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
      rows: rows, microseconds: Self.median(whole), stepMicroseconds: steps.map { Self.median($0) })
  }

  private static func median(_ values: [Double]) -> Double {
    let sorted = values.sorted()
    return sorted.isEmpty ? 0 : sorted[sorted.count / 2]
  }
}
