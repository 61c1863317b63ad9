internal import NeedletailCore
internal import NeedletailModels

/// What `needletail experiment show` shows, from a server's metrics.
struct ExperimentFigures: Encodable {
  struct Arm: Encodable {
    let version: UInt64
    let outcomes: Int
    /// Mean of the metric; absent without outcomes.
    let mean: Double?
    /// Mean less that of the baseline, and its bounds; absent for the baseline, and while they say nothing.
    let difference, differenceLower, differenceUpper: Double?
    /// E-values of the claims that the arm is better by the minimum effect, and that it is not.
    let evidenceBetter, evidenceNotBetter: Double?
    /// `better`, `not_better` or `lost`; absent while nothing is found.
    let verdict: String?
  }

  let model: String
  /// `running`, `better`, `kept`, `undecided` or `stopped`.
  let state: String
  let metric: String
  /// The class that is a success; absent for other metrics.
  let success: String?
  let goal: String
  let baseline: UInt64
  /// The version that is to have all requests; absent while it runs, and where the baseline has lost its traffic.
  let winner: UInt64?
  let error, minimumEffect: Double
  /// E-value that decides; absent where the bounds do.
  let evidenceNeeded: Double?
  let outcomesMax: Int
  /// Outcomes left out because their routing key had one already.
  let repeated: Int
  let promote: Bool
  /// Unix time.
  let startedMs: UInt64
  /// In the order of their versions.
  let arms: [Arm]

  /// - Throws: a sentence where the server knows no experiment of the model.
  init(metrics: MetricSamples, model: String) throws(Failure) {
    let known = metrics["needletail_experiment_info"]
    guard let info = known.first(where: { $0.labels["model"] == model })?.labels else {
      let models = known.compactMap { $0.labels["model"] }.sorted().joined(separator: ", ")
      throw Failure(
        "model \(model.quotedForMessage): expected one whose rollout.yaml has an experiment, found "
          + (models.isEmpty ? "that the server has none" : models))
    }
    func sample(_ name: String, _ labels: [String: String] = [:]) -> Double? {
      metrics.value("needletail_experiment_\(name)", labels.merging(["model": model]) { $1 })
    }
    func own(_ name: String) -> [MetricSamples.Sample] {
      metrics["needletail_experiment_\(name)"].filter { $0.labels["model"] == model }
    }
    self.model = model
    metric = info["metric"] ?? ""
    success = info["success"].flatMap { $0.isEmpty ? nil : $0 }
    goal = info["goal"] ?? ""
    baseline = info["baseline"].flatMap { UInt64($0) } ?? 0
    promote = info["promote"] == "yes"
    state = own("state").first?.labels["state"] ?? ""
    winner = sample("winner").flatMap { UInt64(exactly: $0) }
    error = sample("error") ?? .nan
    minimumEffect = sample("minimum_effect") ?? .nan
    evidenceNeeded = sample("evidence_needed")
    outcomesMax = Int(sample("outcomes_max") ?? 0)
    repeated = Int(sample("repeated") ?? 0)
    startedMs = sample("started_seconds").flatMap { UInt64(exactly: ($0 * 1000).rounded()) } ?? 0
    arms = own("outcomes").compactMap { outcomes in
      guard let name = outcomes.labels["arm"], let version = UInt64(name) else { return nil }
      let arm = ["arm": name]
      return Arm(
        version: version, outcomes: Int(outcomes.value), mean: sample("mean", arm),
        difference: sample("difference", arm), differenceLower: sample("difference_lower", arm),
        differenceUpper: sample("difference_upper", arm),
        evidenceBetter: sample("evidence", ["arm": name, "claim": "better"]),
        evidenceNotBetter: sample("evidence", ["arm": name, "claim": "not_better"]),
        verdict: own("verdict").first { $0.labels["arm"] == name }?.labels["verdict"])
    }.sorted { $0.version < $1.version }
  }

  func print() {
    let what = success.map { "share of outcomes \($0.quotedForMessage)" } ?? metric
    let conclusion = winner.map { "\(state), version \($0) is to have all requests" } ?? state
    Swift.print("\(BundleOutput.plain(model)): \(TerminalTable.styled(conclusion, state == "better" ? .good : .plain))")
    Swift.print(
      "\(BundleOutput.plain(what)), \(goal) is better; error \(error), minimum effect \(minimumEffect)"
        + (evidenceNeeded.map { ", decided at an e-value of \(Self.short($0))" } ?? "")
        + "; at most \(BundleOutput.grouped(outcomesMax)) outcomes, \(BundleOutput.grouped(repeated)) repeated")
    var columns: [(String, TerminalTable.Alignment)] = [
      ("version", .right), ("outcomes", .right), ("mean", .right), ("difference", .right), ("from", .right),
      ("to", .right),
    ]
    if evidenceNeeded != nil { columns += [("e better", .right), ("e not", .right)] }
    var table = TerminalTable(columns + [("", .left)])
    for arm in arms {
      let isBaseline = arm.version == baseline
      var row: [(text: String, style: TerminalTable.Style)] = [
        ("\(arm.version)", .strong), (BundleOutput.grouped(arm.outcomes), .plain), (Self.text(arm.mean), .plain),
        (Self.text(arm.difference), .plain), (Self.text(arm.differenceLower), .plain),
        (Self.text(arm.differenceUpper), .plain),
      ]
      if evidenceNeeded != nil {
        row += [(Self.text(arm.evidenceBetter), .plain), (Self.text(arm.evidenceNotBetter), .plain)]
      }
      let word = isBaseline ? "baseline" : (arm.verdict ?? "").replacing("_", with: " ")
      table.append(row + [(word, arm.verdict == "better" ? .good : .faint)])
    }
    table.print()
  }

  private static func text(_ value: Double?) -> String { value.map(short) ?? "" }

  /// Four significant digits.
  private static func short(_ value: Double) -> String {
    guard value.isFinite, value != 0 else { return "\(value)" }
    guard abs(value) < 1e6, abs(value) >= 1e-4 else { return "\(value)" }
    var scale = 1.0
    while abs(value) * scale < 1000 { scale *= 10 }
    let rounded = (value * scale).rounded() / scale
    return rounded == rounded.rounded() ? "\(Int(rounded))" : "\(rounded)"
  }
}
