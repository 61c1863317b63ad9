internal import NeedletailCore
internal import NeedletailModels

/// What `needletail feedback show` shows, from a server's metrics.
struct LiveFigures: Encodable {
  /// Figures of some rows; those that their model does not have are absent.
  struct Figures: Encodable {
    let rows: Int
    let accuracy, logLoss, brierScore, calibrationError: Double?
    let meanAbsoluteError, rootMeanSquaredError, bias: Double?

    init(_ metrics: MetricSamples, _ prefix: String, _ labels: [String: String]) {
      func value(_ name: String) -> Double? { metrics.value("\(prefix)_\(name)", labels) }
      rows = Int(value("rows") ?? 0)
      accuracy = value("accuracy")
      logLoss = value("log_loss")
      brierScore = value("brier_score")
      calibrationError = value("calibration_error")
      meanAbsoluteError = value("mean_absolute_error")
      rootMeanSquaredError = value("root_mean_squared_error")
      bias = value("bias")
    }
  }

  struct Arm: Encodable {
    /// `assigned` or `named`.
    let role: String
    let figures: Figures
  }

  struct Group: Encodable {
    let feature, group: String
    let figures: Figures
  }

  struct Version: Encodable {
    let version: UInt64
    let arms: [Arm]
    let groups: [Group]
    let expected: Double?
    let worse: Bool?
  }

  let model: String
  /// Calls that are remembered.
  let predictions: Int
  /// Outcomes that were reported since the server started, by what came of them.
  let outcomes: [String: Int]
  /// Newest first; those with outcomes.
  let versions: [Version]

  /// - Throws: a sentence where the server remembers no predictions of the model.
  init(metrics: MetricSamples, model: String) throws(Failure) {
    let counted = metrics["needletail_feedback_outcomes_total"]
    let own = counted.filter { $0.labels["model"] == model }
    guard !own.isEmpty else {
      let known = Set(counted.compactMap { $0.labels["model"] }).sorted().joined(separator: ", ")
      throw Failure(
        "model \(model.quotedForMessage): expected one whose predictions the server remembers, found "
          + (known.isEmpty ? "that it remembers none" : known))
    }
    self.model = model
    outcomes = Dictionary(own.map { ($0.labels["result"] ?? "", Int($0.value)) }) { first, _ in first }
    predictions = Int(metrics.value("needletail_feedback_predictions", ["model": model]) ?? 0)
    func isOwn(_ sample: MetricSamples.Sample, _ version: UInt64) -> Bool {
      sample.labels["model"] == model && sample.labels["version"] == "\(version)"
    }
    let rows = metrics["needletail_feedback_rows"].filter { $0.labels["model"] == model }
    let numbers = Set(rows.compactMap { $0.labels["version"].flatMap { UInt64($0) } }).sorted(by: >)
    versions = numbers.map { number in
      let labels = ["model": model, "version": "\(number)"]
      return Version(
        version: number,
        arms: rows.filter { isOwn($0, number) }
          .map { Arm(role: $0.labels["role"] ?? "", figures: Figures(metrics, "needletail_feedback", $0.labels)) }
          .sorted { $0.role < $1.role },
        groups: metrics["needletail_feedback_group_rows"].filter { isOwn($0, number) }
          .map {
            Group(
              feature: $0.labels["feature"] ?? "", group: $0.labels["group"] ?? "",
              figures: Figures(metrics, "needletail_feedback_group", $0.labels))
          }
          .sorted { ($0.feature, $0.group) < ($1.feature, $1.group) },
        expected: metrics.value("needletail_feedback_expected", labels),
        worse: metrics.value("needletail_feedback_worse", labels).map { $0 != 0 })
    }
  }

  func print() {
    let counts = OutcomeResult.allCases.compactMap { result in
      outcomes[result.rawValue].flatMap { $0 > 0 ? "\(BundleOutput.grouped($0)) \(result.rawValue)" : nil }
    }
    Swift.print(
      "\(BundleOutput.plain(model)): \(BundleOutput.grouped(predictions)) predictions remembered; outcomes: "
        + (counts.isEmpty ? "none" : counts.joined(separator: ", ")))
    guard !versions.isEmpty else { return }
    let isClassification = versions.contains { $0.arms.contains { $0.figures.accuracy != nil } }
    Swift.print("")
    let names =
      isClassification ? ["accuracy", "log loss", "Brier", "calibration"] : ["MAE", "RMSE", "bias"]
    var table = TerminalTable(
      [("version", .right), ("rows of", .left), ("rows", .right)] + names.map { ($0, .right) } + [
        ("expected", .right), ("", .left),
      ])
    for version in versions {
      for arm in version.arms {
        let verdict = version.worse.map { $0 ? "worse" : "as expected" } ?? "few outcomes"
        table.append(
          [("\(version.version)", .strong), (arm.role, .plain), (BundleOutput.grouped(arm.figures.rows), .plain)]
            + Self.cells(arm.figures, isClassification)
            + [
              (Self.number(version.expected), .faint),
              (version.expected == nil ? "" : verdict, version.worse == true ? .bad : .faint),
            ])
      }
      for group in version.groups {
        table.append(
          [
            ("", .plain), (BundleOutput.plain("\(group.feature) = \(group.group)"), .plain),
            (BundleOutput.grouped(group.figures.rows), .plain),
          ] + Self.cells(group.figures, isClassification) + [("", .plain), ("", .plain)])
      }
    }
    table.print()
  }

  private static func cells(
    _ figures: Figures, _ isClassification: Bool
  ) -> [(text: String, style: TerminalTable.Style)] {
    let values =
      isClassification
      ? [figures.accuracy, figures.logLoss, figures.brierScore, figures.calibrationError]
      : [figures.meanAbsoluteError, figures.rootMeanSquaredError, figures.bias]
    return values.map { (number($0), .plain) }
  }

  /// Four digits behind the point; empty for none.
  private static func number(_ value: Double?) -> String {
    guard let value else { return "" }
    guard value.isFinite, abs(value) < 1e9 else { return "\(value)" }
    let parts = Int((abs(value) * 10_000).rounded())
    let fraction = String(parts % 10_000)
    let zeros = String(repeating: "0", count: 4 - fraction.count)
    return "\(value < 0 && parts > 0 ? "-" : "")\(parts / 10_000).\(zeros)\(fraction)"
  }
}
