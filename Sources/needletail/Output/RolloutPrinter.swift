internal import Foundation
internal import NeedletailClient
internal import NeedletailCore

/// Prints a rollout for people.
struct RolloutPrinter {
  private let report: RolloutReport

  init(_ report: RolloutReport) { self.report = report }

  func print() {
    var table = TerminalTable([
      ("VERSION", .right), ("LABELS", .left), ("SHARE", .right), ("REQUESTS", .right), ("FAILED", .right),
      ("NAN", .right), ("COMPUTE", .right), ("AGAINST SERVING", .left),
    ])
    for arm in report.arms {
      let isServing = arm.version == report.servingVersion
      table.append([
        (String(arm.version) + (isServing ? "*" : ""), isServing ? .good : .plain),
        (BundleOutput.plain(arm.labels.joined(separator: ",")), .plain),
        (Self.percent(Double(arm.shareMillionths) / 1e6), .plain),
        (String(arm.requests), .plain), (String(arm.failed), arm.failed > 0 ? .bad : .plain),
        (String(arm.nonFinite), arm.nonFinite > 0 ? .bad : .plain),
        (String(format: "%.1f µs", Double(arm.computeNanoseconds) / 1000), .plain),
        (isServing ? "" : RolloutComparison(arm, report).text, .plain),
      ])
    }
    table.print()
    for label in report.labels where label.answering != label.version {
      let answer = label.answering == 0 ? "no version answers" : "version \(label.answering) answers"
      Swift.print(
        TerminalTable.styled("label \(BundleOutput.plain(label.name))", .bad)
          + ": version \(label.version) is \(BundleOutput.plain(label.reason)); \(answer)")
    }
    if let shadow = report.shadow, !shadow.problem.isEmpty {
      Swift.print(TerminalTable.styled("shadow \(shadow.version)", .bad) + ": \(BundleOutput.plain(shadow.problem))")
    }
    if let shadow = report.shadow, shadow.problem.isEmpty || shadow.rows > 0 {
      Swift.print(
        "shadow \(shadow.version): \(shadow.rows) rows compared, \(shadow.skipped) left out, "
          + "\(shadow.flips) other classes, \(shadow.nonFinite) NaN, largest difference \(shadow.maxDifference), "
          + String(format: "%.1f µs", Double(shadow.computeNanoseconds) / 1000))
    }
    let now = UInt64(Date().timeIntervalSince1970 * 1000)
    for entry in report.quarantined {
      Swift.print(
        TerminalTable.styled("quarantined", .bad)
          + ": \(entry.version), \(BundleOutput.plain(entry.cause)), "
          + "\(MessageFormat.age(since: entry.sinceMilliseconds, now: now)): \(BundleOutput.plain(entry.reason))"
      )
    }
    if !report.problem.isEmpty {
      Swift.print(TerminalTable.styled("not in force", .bad) + ": " + BundleOutput.plain(report.problem))
    }
    if !report.file.isEmpty {
      Swift.print("rollout.yaml:")
      for line in report.file.split(whereSeparator: \.isNewline) { Swift.print(BundleOutput.plain(String(line))) }
    }
  }

  static func percent(_ share: Double) -> String { String(format: "%.2f %%", share * 100) }
}

/// Whether a version fails more often than the one that serves.
struct RolloutComparison {
  let test: TwoProportionTest?

  init(_ arm: RolloutReport.Arm, _ report: RolloutReport) {
    let serving = report.arms.first { $0.version == report.servingVersion }
    test = serving.flatMap {
      TwoProportionTest(failures: arm.failed, of: arm.requests, against: $0.failed, of: $0.requests)
    }
  }

  var text: String {
    guard let test else { return "too few to tell" }
    let word = test.pValue >= 0.05 ? "no difference" : test.z > 0 ? "fails more often" : "fails less often"
    return String(format: "%@ (z %.2f, p %.3g)", word, test.z, test.pValue)
  }
}

extension RolloutReport {
  /// The shape of `--json`.
  var json: JSONObject {
    [
      "model": model, "serving_version": servingVersion, "arms": arms.map(json), "labels": labels.map(\.json),
      "set_aside": quarantined.map(\.json),
      "shadow": shadow?.json, "file": file, "problem": problem, "durable": isDurable,
    ]
  }

  private func json(_ arm: Arm) -> JSONObject {
    let test = arm.version == servingVersion ? nil : RolloutComparison(arm, self).test
    return [
      "version": arm.version, "labels": arm.labels, "share": Double(arm.shareMillionths) / 1e6,
      "requests": arm.requests, "failed": arm.failed, "rows": arm.rows, "nan_outputs": arm.nonFinite,
      "compute_ns": arm.computeNanoseconds,
      // Compared with the version that serves; absent if there are too few requests.
      "z": test?.z, "p_value": test?.pValue,
    ]
  }
}

extension RolloutReport.Label {
  fileprivate var json: JSONObject {
    [
      "name": name, "version": version,
      // The version that answers; 0 if none does.
      "answering": answering,
      // Absent if the store does not hold the version.
      "state": state?.description, "reason": reason,
    ]
  }
}

extension RolloutReport.Quarantined {
  fileprivate var json: JSONObject {
    ["version": version, "cause": cause, "reason": reason, "since_ms": sinceMilliseconds]
  }
}

extension RolloutReport.Shadow {
  fileprivate var json: JSONObject {
    [
      "version": version, "rows": rows, "flips": flips, "skipped": skipped, "nan_outputs": nonFinite,
      "max_difference": maxDifference, "compute_ns": computeNanoseconds,
      // Why it is given no rows, or none of some version.
      "problem": problem,
    ]
  }
}
