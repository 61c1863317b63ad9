internal import NeedletailCore
internal import NeedletailModels

/// What `needletail drift` shows, from a server's metrics or from rows of a file.
struct DriftReport: Encodable {
  struct Column: Encodable {
    let name: String
    let level: String
    let psi, psiByChance, jensenShannon, missing, outOfRange, unknown: Double
  }

  struct Answers: Encodable {
    let psi, psiByChance, jensenShannon: Double
    let level: String
    let confidence, mean: Double?
    let nonFinite: Double
    let classes: [String: Double]
  }

  let model: String
  let version: UInt64
  /// Rows that were watched since the version went live, or rows of the file.
  let rows: UInt64
  let columns: [Column]
  let answers: Answers?

  init(_ report: VersionWatch.Report, model: String, version: UInt64, rows: UInt64) {
    (self.model, self.version, self.rows) = (model, version, rows)
    columns = Self.sorted(
      report.columns.map { column in
        let figures = column.figures
        return Column(
          name: column.name, level: figures.level.rawValue, psi: figures.stabilityIndex, psiByChance: figures.chance,
          jensenShannon: figures.jensenShannon, missing: figures.missingRate, outOfRange: figures.outOfRangeRate,
          unknown: figures.unknownRate)
      })
    answers = report.answers.map { answers in
      let figures = answers.column.figures
      return Answers(
        psi: figures.stabilityIndex, psiByChance: figures.chance, jensenShannon: figures.jensenShannon,
        level: figures.level.rawValue,
        confidence: answers.confidence, mean: answers.mean, nonFinite: answers.nonFiniteRate,
        classes: Dictionary(answers.classShares.map { ($0.name, $0.share) }) { first, _ in first })
    }
  }

  /// - Throws: a sentence where the server watches no such model.
  init(metrics: MetricSamples, model: String, version: UInt64?) throws(Failure) {
    let versions = metrics["needletail_watch_rows_total"].compactMap { sample in
      sample.labels["model"] == model ? sample.labels["version"].flatMap { UInt64($0) } : nil
    }
    guard let chosen = version ?? versions.max(), versions.contains(chosen) else {
      let known = Set(metrics["needletail_watch_rows_total"].compactMap { $0.labels["model"] }).sorted()
      let what = version.map { "version \($0) of model" } ?? "model"
      throw Failure(
        "\(what) \(model.quotedForMessage): expected one that the server watches, found "
          + (known.isEmpty ? "that it watches none" : known.joined(separator: ", ")))
    }
    let of = ["model": model, "version": String(chosen)]
    (self.model, self.version) = (model, chosen)
    rows = UInt64(metrics.value("needletail_watch_rows_total", of) ?? 0)
    columns = Self.sorted(
      metrics["needletail_drift_psi"].compactMap { sample -> Column? in
        guard let name = sample.labels["column"], sample.labels["model"] == model,
          sample.labels["version"] == String(chosen)
        else { return nil }
        func value(_ metric: String) -> Double { metrics.value(metric, sample.labels) ?? 0 }
        let chance = value("needletail_drift_psi_by_chance")
        return Column(
          name: name, level: Self.level(psi: sample.value, chance: chance), psi: sample.value, psiByChance: chance,
          jensenShannon: value("needletail_drift_jensen_shannon"), missing: value("needletail_drift_missing_ratio"),
          outOfRange: value("needletail_drift_out_of_range_ratio"), unknown: value("needletail_drift_unknown_ratio"))
      })
    answers = metrics.value("needletail_answers_psi", of).map { psi in
      let classes = metrics["needletail_answers_class_ratio"].filter { sample in
        sample.labels["model"] == model && sample.labels["version"] == String(chosen)
      }
      let chance = metrics.value("needletail_answers_psi_by_chance", of) ?? 0
      return Answers(
        psi: psi, psiByChance: chance, jensenShannon: metrics.value("needletail_answers_jensen_shannon", of) ?? 0,
        level: Self.level(psi: psi, chance: chance),
        confidence: metrics.value("needletail_answers_confidence", of),
        mean: metrics.value("needletail_answers_mean", of),
        nonFinite: metrics.value("needletail_answers_nan_ratio", of) ?? 0,
        classes: Dictionary(classes.map { ($0.labels["class"] ?? "", $0.value) }) { first, _ in first })
    }
  }

  /// The level by the same rule as the server's: an index says something only above what chance may give.
  private static func level(psi: Double, chance: Double) -> String {
    let level: DriftFigures.Level =
      psi < DriftFigures.warning || psi < chance ? .none : psi < DriftFigures.alert ? .warning : .alert
    return level.rawValue
  }

  private static func sorted(_ columns: [Column]) -> [Column] {
    columns.sorted { ($1.psi, $0.name) < ($0.psi, $1.name) }
  }

  private init(_ report: DriftReport, columns: [Column]) {
    (model, version, rows, answers) = (report.model, report.version, report.rows, report.answers)
    self.columns = columns
  }

  func limited(to top: Int?) -> DriftReport {
    top.map { DriftReport(self, columns: Array(columns.prefix($0))) } ?? self
  }

  /// Whether a column, or the answers, are at a level or above.
  func isAt(_ failure: DriftFailure) -> Bool {
    let levels = columns.map(\.level) + (answers.map { [$0.level] } ?? [])
    return levels.contains { $0 == DriftFigures.Level.alert.rawValue || $0 == failure.rawValue }
  }

  func print(top: Int) {
    Swift.print(
      "\(BundleOutput.plain(model)) version \(version): \(BundleOutput.grouped(Int(clamping: rows))) rows watched\n")
    var table = TerminalTable([
      ("column", .left), ("PSI", .right), ("by chance", .right), ("Jensen-Shannon", .right), ("missing", .right),
      ("out of range", .right), ("unknown", .right), ("level", .left),
    ])
    if let answers {
      table.append([
        ("answers", .strong), (Self.number(answers.psi), .plain),
        (Self.number(answers.psiByChance), .faint),
        (Self.number(answers.jensenShannon), .plain), ("", .plain), ("", .plain), ("", .plain),
        Self.cell(answers.level),
      ])
    }
    for column in columns.prefix(top) {
      table.append([
        (BundleOutput.plain(column.name), .plain), (Self.number(column.psi), .plain),
        (Self.number(column.psiByChance), .faint), (Self.number(column.jensenShannon), .plain),
        (Self.share(column.missing), .plain), (Self.share(column.outOfRange), .plain),
        (Self.share(column.unknown), .plain), Self.cell(column.level),
      ])
    }
    table.print()
    if columns.count > top { Swift.print("\(columns.count - top) more columns: --top \(columns.count)") }
    guard let answers else { return }
    var facts: [String] = []
    if let confidence = answers.confidence { facts.append("mean confidence \(Self.number(confidence))") }
    if let mean = answers.mean { facts.append("mean answer \(Self.number(mean))") }
    if answers.nonFinite > 0 { facts.append("\(Self.share(answers.nonFinite)) not finite") }
    facts += answers.classes.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.prefix(8).map { name, share in
      "\(BundleOutput.plain(name)) \(Self.share(share))"
    }
    if !facts.isEmpty { Swift.print("\nanswers: \(facts.joined(separator: ", "))") }
  }

  private static func cell(_ level: String) -> (text: String, style: TerminalTable.Style) {
    switch DriftFigures.Level(rawValue: level) {
    case .alert: ("moved", .bad)
    case .warning: ("look", .strong)
    case .few: ("few rows", .faint)
    case .none?, nil: ("as trained", .faint)
    }
  }

  private static func number(_ value: Double) -> String {
    guard value.isFinite, abs(value) < 1e9 else { return "\(value)" }
    let thousandths = Int((abs(value) * 1000).rounded())
    let fraction = String(thousandths % 1000)
    let zeros = String(repeating: "0", count: 3 - fraction.count)
    return "\(value < 0 && thousandths > 0 ? "-" : "")\(thousandths / 1000).\(zeros)\(fraction)"
  }

  private static func share(_ value: Double) -> String { "\((value * 1000).rounded() / 10) %" }
}
