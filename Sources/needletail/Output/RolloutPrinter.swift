internal import Foundation
internal import NeedletailClient
internal import NeedletailCore

/// A rollout as people read it.
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
        (arm.labels.joined(separator: ","), .plain), (Self.percent(Double(arm.shareMillionths) / 1e6), .plain),
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
        TerminalTable.styled("label \(label.name)", .bad)
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
    for aside in report.setAside {
      Swift.print(
        TerminalTable.styled("set aside", .bad)
          + ": \(aside.version), \(aside.cause), \(Wording.age(since: aside.sinceMilliseconds, now: now)): \(aside.reason)"
      )
    }
    if !report.problem.isEmpty { Swift.print(TerminalTable.styled("not in force", .bad) + ": " + report.problem) }
    if !report.file.isEmpty { Swift.print("rollout.yaml:\n" + report.file, terminator: "") }
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

/// The shape of `--json`.
struct RolloutJSON: Encodable {
  struct Arm: Encodable {
    var version: UInt64
    var labels: [String]
    var share: Double
    var requests: UInt64
    var failed: UInt64
    var rows: UInt64
    var nanOutputs: UInt64
    var computeNs: UInt64
    /// Against the version that serves; absent where there is too little to tell.
    var z: Double?
    var pValue: Double?
  }

  struct SetAside: Encodable {
    var version: UInt64
    var cause: String
    var reason: String
    var sinceMs: UInt64
  }

  struct Label: Encodable {
    var name: String
    var version: UInt64
    /// What answers; 0: nothing does.
    var answering: UInt64
    /// Absent where the store does not hold the version.
    var state: String?
    var reason: String
  }

  struct Shadow: Encodable {
    var version: UInt64
    var rows: UInt64
    var flips: UInt64
    var skipped: UInt64
    var nanOutputs: UInt64
    var maxDifference: Double
    var computeNs: UInt64
    /// Why it is given nothing, or nothing of some version.
    var problem: String
  }

  var model: String
  var servingVersion: UInt64
  var arms: [Arm]
  var labels: [Label]
  var setAside: [SetAside]
  var shadow: Shadow?
  var file: String
  var problem: String
  var durable: Bool

  init(_ report: RolloutReport) {
    model = report.model
    servingVersion = report.servingVersion
    arms = report.arms.map { arm in
      let test = arm.version == report.servingVersion ? nil : RolloutComparison(arm, report).test
      return Arm(
        version: arm.version, labels: arm.labels, share: Double(arm.shareMillionths) / 1e6, requests: arm.requests,
        failed: arm.failed, rows: arm.rows, nanOutputs: arm.nonFinite, computeNs: arm.computeNanoseconds, z: test?.z,
        pValue: test?.pValue)
    }
    labels = report.labels.map {
      Label(
        name: $0.name, version: $0.version, answering: $0.answering, state: $0.state?.description, reason: $0.reason)
    }
    setAside = report.setAside.map {
      SetAside(version: $0.version, cause: $0.cause, reason: $0.reason, sinceMs: $0.sinceMilliseconds)
    }
    shadow = report.shadow.map {
      Shadow(
        version: $0.version, rows: $0.rows, flips: $0.flips, skipped: $0.skipped, nanOutputs: $0.nonFinite,
        maxDifference: $0.maxDifference, computeNs: $0.computeNanoseconds, problem: $0.problem)
    }
    file = report.file
    problem = report.problem
    durable = report.isDurable
  }
}
