internal import NeedletailCore

/// Problems up to a bound, and a count of those beyond it.
struct ProblemList {
  private var problems: [StoreProblem] = []
  private var left = 0

  mutating func add(_ path: String, _ reason: String) {
    if problems.count < Limits.storeProblemsMax {
      problems.append(StoreProblem(path: path, reason: reason))
    } else {
      left += 1
    }
  }

  func finish() -> [StoreProblem] {
    guard left > 0 else { return problems }
    return problems + [StoreProblem(path: "", reason: "\(left) more files are misplaced or misnamed")]
  }
}
