internal import NeedletailCore

/// A model card (Mitchell et al., 2019) in Markdown: what the model is, what it was judged on, and where it fails. It is
/// drawn from the figures of `report.json`.
public struct ModelCard {
  private let report: Document

  /// - Parameter report: what `report.json` holds.
  public init(_ report: Document) { self.report = report }

  private static let rowsMax = 20
  private static let featuresMax = 10

  /// The whole file.
  public var markdown: String {
    let name = "\(Self.text(report["model"])) \(Self.text(report["version"]))"
    var parts = ["# \(name)", overview]
    func add(_ title: String, _ text: String) {
      if !text.isEmpty { parts.append("## \(title)\n\n\(text)") }
    }
    add("Data", data)
    add("Figures", figures)
    add("Classes", classes)
    add("Subgroups", subgroups)
    add("What it looks at", importance)
    add("Limits", limits)
    add("Serving", serving)
    add("How to make it again", reproduction)
    return parts.joined(separator: "\n\n") + "\n"
  }

  /// Foreign text as one cell of a table, or words of a sentence: nothing in it is markup.
  static func escaped(_ text: String) -> String {
    var result = ""
    for scalar in text.escapingControls.unicodeScalars {
      switch scalar {
      case "\\", "|", "`", "*", "_", "[", "]", "<", ">", "#", "~": result += "\\" + String(scalar)
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }

  private static func text(_ value: Document) -> String { escaped(ReportPage.text(value)) }

  private static func table(_ head: [String], _ rows: [[String]]) -> String {
    let rule = head.indices.map { $0 == 0 ? "---" : "---:" }
    return ([head, rule] + rows).map { "| " + $0.joined(separator: " | ") + " |" }.joined(separator: "\n")
  }

  private var overview: String {
    var sentences = [
      "Predicts `\((report["target"].text ?? "").split(separator: "`").joined())` by \(Self.text(report["task"]))"
    ]
    if let family = report["family"].text { sentences.append("model family `\(family)`") }
    sentences.append("weights in \(Self.text(report["precision"]))")
    if let created = report["created"].text { sentences.append("trained on \(created)") }
    return sentences.joined(separator: ", ") + " with Needletail \(Self.text(report["trainer"]))."
  }

  private var data: String {
    let rows = report["rows"].entries.compactMap { entry in
      entry.value.integer.map { [ReportPage.name(of: entry.key), Figures.count($0)] }
    }
    guard !rows.isEmpty else { return "" }
    var text = Self.table(["rows", ""], rows)
    if let files = report["files"].text { text += "\n\nFiles: \(Self.escaped(files))." }
    if let hash = report["data_sha256"].text { text += " SHA-256 over their bytes: `\(hash)`." }
    return text
  }

  private var figures: String {
    let parts = [
      ("test", "test rows"), ("test_weighted", "test rows by weight"), ("validation", "validation rows"),
    ].filter { !report[$0.0].entries.isEmpty }
    guard let first = parts.first else { return "" }
    var rows = report[first.0].entries.map { entry in
      [ReportPage.name(of: entry.key)]
        + parts.map { report[$0.0][entry.key].number.map(ReportPage.figure) ?? "–" }
    }
    let more: [(String, Double?)] = [
      ("average precision", report["areas"]["average_precision_macro"].number),
      ("calibration error", report["calibration"]["expected_calibration_error"].number),
      ("Brier score", report["calibration"]["brier"].number),
    ]
    for case (let name, let value?) in more {
      rows.append([name, ReportPage.figure(value)] + parts.dropFirst().map { _ in "–" })
    }
    var text = "By the definitions of scikit-learn, measured with the engine that serves.\n\n"
    text += Self.table(["figure"] + parts.map(\.1), rows)
    if !report["test_weighted"].entries.isEmpty { text += "\n\n" + Self.escaped(ReportPage(report).weightsWords) }
    if let all = report["refit_rows"].integer {
      text +=
        "\n\nThese are figures of a model that learned from the training rows only. The model that is served was then "
        + "fitted again on all \(Figures.count(all)) rows, with the same settings."
    }
    let threshold = report["threshold"]
    if let value = threshold["threshold"].number {
      text +=
        "\n\nThe threshold for \(Self.text(threshold["class"])) that is best for "
        + "\(ReportPage.name(of: threshold["for"].text ?? "")) on the validation rows is \(Figures.fixed(value, 4)). "
        + "The served class keeps to it."
    }
    return text
  }

  private var classes: String {
    let classes = report["classes"].elements
    guard !classes.isEmpty else { return "" }
    let rows = classes.prefix(Self.rowsMax).map { one in
      [Self.text(one["label"])] + ["precision", "recall", "f1"].map { one[$0].number.map(ReportPage.figure) ?? "–" }
        + [Self.text(one["support"])]
    }
    return Self.table(["class", "precision", "recall", "F1", "test rows"], rows)
  }

  private var subgroups: String {
    let keys =
      report["task"].text == "classification" ? ["accuracy", "predicted_rate", "true_rate"] : ["rmse", "bias"]
    return report["subgroups"].elements.map { column in
      let groups = column["groups"].elements
      let shown = keys.filter { key in groups.contains { $0["figures"][key].number != nil } }
      return Self.table(
        [Self.text(column["column"]), "rows"] + shown.map(ReportPage.name(of:)),
        groups.map { group in
          [Self.text(group["group"]), Self.text(group["rows"])]
            + shown.map { group["figures"][$0].number.map(ReportPage.figure) ?? "–" }
        })
    }.joined(separator: "\n\n")
  }

  private var importance: String {
    let features = report["importance"].elements.compactMap { feature in
      feature["permutation"].number.map { (Self.text(feature["feature"]), $0) }
    }.sorted { $0.1 > $1.1 }
    guard !features.isEmpty else { return "" }
    let metric = ReportPage.name(of: report["permutation_metric"].text ?? "loss")
    return "Rise of the \(metric) of held-out rows where the values of a feature are shuffled.\n\n"
      + Self.table(["feature", "rise"], features.prefix(Self.featuresMax).map { [$0.0, ReportPage.figure($0.1)] })
  }

  private var limits: String {
    var lines = report["warnings"].elements.compactMap(\.text).map { "- \(Self.escaped($0))" }
    let metric = report["task"].text == "classification" ? "accuracy" : "r2"
    for (kind, words) in [
      ("noise", "noise of half a deviation on every number"), ("missing", "half of the values missing"),
    ] {
      let parts = report["robustness"].elements.filter { $0["kind"].text == kind }
      guard let before = parts.first?["figures"][metric].number, let after = parts.last?["figures"][metric].number,
        parts.count > 1
      else { continue }
      lines.append(
        "- With \(words), \(ReportPage.name(of: metric)) goes from \(ReportPage.figure(before)) to "
          + "\(ReportPage.figure(after)).")
    }
    lines.append(
      "- It is judged on rows that were split off the same files: other places and later times are not in these figures."
    )
    return lines.joined(separator: "\n")
  }

  private var serving: String {
    let rows = report["latency"].elements.map { part in
      [
        Self.text(part["batch"]), Figures.microseconds(part["microseconds"].number ?? 0),
        Figures.microseconds(part["microseconds_per_row"].number ?? 0),
      ]
    }
    guard !rows.isEmpty else { return "" }
    let isa = Self.text(report["isa"])
    return "Median time on one thread, binding of raw rows included (\(isa)).\n\n"
      + Self.table(["rows at once", "batch", "each row"], rows)
  }

  private var reproduction: String {
    guard let settings = report["settings"].text, !settings.isEmpty else { return "" }
    let indented = settings.split(separator: "\n", omittingEmptySubsequences: false).map {
      $0.isEmpty ? "" : "    " + $0
    }
    return "`needletail-trainer train` with this run file, on the data whose hash stands above.\n\n"
      + indented.joined(separator: "\n")
  }
}
