internal import NeedletailCore

/// How well the model answers rows that it did not learn from.
extension ReportPage {
  func learning(_ html: inout HTMLWriter) {
    let steps = report["learning"].elements
    guard steps.count > 1 else { return }
    func points(_ key: String) -> [(x: Double, y: Double)] {
      steps.compactMap { step in
        guard let x = step["step"].number, let y = step[key].number else { return nil }
        return (x, y)
      }
    }
    html.element("div", ["class": "pictures"]) { pictures in
      let best = report["best_step"].integer.map { "The best validation loss is that of step \($0)." } ?? ""
      let validation = points("validation_loss")
      picture(
        "Loss", best,
        Chart(
          title: "Loss of the training and the validation rows by step", xLabel: report["step_name"].text ?? "step",
          yLabel: "loss",
          series: [.init("training", colour: 0, points("loss"))]
            + (validation.isEmpty ? [] : [.init("validation", colour: 1, validation)])),
        &pictures)
      let metric = points("validation_metric")
      if !metric.isEmpty {
        let name = report["learning_metric"].text ?? "metric"
        picture(
          "Validation \(name)", "",
          Chart(
            title: "\(name) of the validation rows by step", xLabel: report["step_name"].text ?? "step", yLabel: name,
            series: [.init(name, colour: 1, metric)]), &pictures)
      }
    }
  }

  // MARK: - classes

  func classes(_ html: inout HTMLWriter) {
    let classes = report["classes"].elements
    guard !classes.isEmpty else { return }
    html.element("p", "Figures of the \(rowsName), by the definitions of scikit-learn.")
    func row(_ name: String, _ scores: Document) -> [String] {
      [name] + ["precision", "recall", "f1"].map { scores[$0].number.map { Figures.fixed($0, 4) } ?? "–" }
        + [Self.text(scores["support"])]
    }
    let averages = report["averages"]
    html.element("div", ["class": "side"]) { side in
      table(
        "", ["class", "precision", "recall", "F1", "rows"],
        classes.map { row($0["label"].text ?? "", $0) }
          + [row("mean over classes", averages["macro"]), row("mean by rows", averages["weighted"])], &side)
      confusion(
        report["confusion"], classes.map { $0["label"].text ?? "" },
        "Confusion matrix: a line for each true class, a column for each answer.", &side)
    }
    if let balanced = averages["balanced_accuracy"].number, let matthews = averages["mcc"].number {
      html.element(
        "p", "Balanced accuracy \(Figures.fixed(balanced, 4)), Matthews' correlation \(Figures.fixed(matthews, 4)).")
    }
  }

  // MARK: - weights

  /// Figures of rows that count by their weights, beside those of rows that count alike.
  func weights(_ html: inout HTMLWriter) {
    let weighted = report["test_weighted"]
    guard !weighted.entries.isEmpty else { return }
    html.element("p", weightsWords)
    let hasValidation = !report["validation_weighted"].entries.isEmpty
    html.element("div", ["class": "side"]) { side in
      table(
        "", ["figure", "alike", "by weight"] + (hasValidation ? ["validation, by weight"] : []),
        weighted.entries.map { entry in
          [Self.name(of: entry.key)]
            + [report["test"], weighted, report["validation_weighted"]].prefix(hasValidation ? 3 : 2).map { figures in
              figures[entry.key].number.map(Self.figure) ?? "–"
            }
        }, &side)
      let classes = report["by_weight"]["classes"].elements
      guard !classes.isEmpty else { return }
      table(
        "", ["class, by weight", "precision", "recall", "F1", "weight"],
        classes.map { one in
          [one["label"].text ?? ""]
            + ["precision", "recall", "f1"].map { one[$0].number.map { Figures.fixed($0, 4) } ?? "–" }
            + [Self.text(one["support"])]
        }, &side)
      confusion(
        report["by_weight"]["confusion"], classes.map { $0["label"].text ?? "" },
        "Confusion matrix by weight: a line for each true class, a column for each answer.", &side)
    }
    curves(of: report["by_weight"], &html)
    thresholds(of: report["by_weight"], &html)
    residuals(of: report["by_weight"], &html)
    subgroups(by: "figures_weighted", rows: "weight", &html)
  }

  /// What rows count by in the weighted figures.
  var weightsWords: String {
    var parts: [String] = []
    if let column = report["weights"]["column"].text { parts.append("the column \(column)") }
    if report["weights"]["class_weights"] != .null { parts.append("the weights of their classes in training") }
    return "Rows count by \(parts.joined(separator: " times ")), as by sample_weight in scikit-learn. The other "
      + "sections count every row alike."
  }

  /// Rows that the figures of the page rest on.
  var rowsName: String {
    let count = report["rows"]["test"].integer.map { Figures.count($0) + " " } ?? ""
    return "\(count)test rows"
  }

  private func confusion(_ matrix: Document, _ labels: [String], _ caption: String, _ html: inout HTMLWriter) {
    let rows = matrix.elements.map { $0.elements.map { $0.number ?? 0 } }
    guard !rows.isEmpty else { return }
    let isCompact = labels.count > 14
    html.element("div", ["class": "scroll"]) { scroll in
      scroll.element("table", ["class": isCompact ? "confusion compact" : "confusion"]) { table in
        table.element("caption", caption)
        table.element("thead") { thead in
          thead.element("tr") { tr in
            tr.element("td", ["style": "--share: 0"], "")
            for label in labels { tr.element("th", ["scope": "col"], Chart.shortened(label, to: isCompact ? 4 : 16)) }
          }
        }
        table.element("tbody") { body in
          for (truth, counts) in rows.enumerated() where truth < labels.count {
            let sum = counts.reduce(0, +)
            body.element("tr") { tr in
              tr.element("th", ["scope": "row"], Chart.shortened(labels[truth], to: isCompact ? 10 : 24))
              for (answer, count) in counts.enumerated() {
                let share = sum > 0 ? count / sum : 0
                let words = Int(exactly: count).map(Figures.count) ?? Figures.short(count)
                tr.element(
                  "td",
                  [
                    "class": share > 0.5 ? "full" : "", "style": "--share: \(Figures.fixed(share * 0.8, 3))",
                    "title": "\(labels[truth]) answered as \(answer < labels.count ? labels[answer] : ""): \(words)",
                  ], count == 0 && isCompact ? "" : words)
              }
            }
          }
        }
      }
    }
  }

  // MARK: - curves

  func curves(_ html: inout HTMLWriter) { curves(of: report, &html) }

  /// - Parameter figures: the report, or its figures by weight.
  private func curves(of figures: Document, _ html: inout HTMLWriter) {
    let roc = figures["roc"].elements
    let calibration = figures["calibration"]
    guard !roc.isEmpty || calibration != .null else { return }
    let areas = figures["areas"]
    html.element("div", ["class": "pictures"]) { pictures in
      if !roc.isEmpty {
        picture(
          "ROC", Self.areaWords("Area under the curve", areas, "auc", roc.count),
          Chart(
            title: "ROC curve: share of the class found against share of the others taken for it",
            xLabel: "false positive rate", yLabel: "true positive rate",
            series: roc.enumerated().map { index, one in
              .init(Self.legend(one, "auc"), colour: index, Self.points(one["points"]))
            } + [.init("", .dashed, colour: 5, [(0, 0), (1, 1)])],
            xRange: (0, 1), yRange: (0, 1), isSquare: true), &pictures)
      }
      let precisionRecall = figures["precision_recall"].elements
      if !precisionRecall.isEmpty {
        let base = precisionRecall.count == 1 ? precisionRecall[0]["base_rate"].number : nil
        picture(
          "Precision and recall",
          Self.areaWords("Average precision", areas, "average_precision", precisionRecall.count),
          Chart(
            title: "Precision against recall", xLabel: "recall", yLabel: "precision",
            series: precisionRecall.enumerated().map { index, one in
              .init(Self.legend(one, "average_precision"), colour: index, Self.points(one["points"]))
            } + (base.map { [.init("", .dashed, colour: 5, [(0, $0), (1, $0)])] } ?? []),
            xRange: (0, 1), yRange: (0, 1), isSquare: true), &pictures)
      }
      if calibration != .null { reliability(calibration, &pictures) }
    }
  }

  private static func legend(_ curve: Document, _ key: String) -> String {
    "\(curve["class"].text ?? "") \(curve[key].number.map { Figures.fixed($0, 3) } ?? "")"
  }

  private static func areaWords(_ name: String, _ areas: Document, _ key: String, _ curves: Int) -> String {
    guard let macro = areas["\(key)_macro"].number else { return "" }
    if curves == 1 { return "\(name) \(Figures.fixed(macro, 4))." }
    let weighted = areas["\(key)_weighted"].number.map { ", \(Figures.fixed($0, 4)) weighted by rows" } ?? ""
    return "\(name), each class against the others: \(Figures.fixed(macro, 4)) in the mean\(weighted)."
  }

  private func reliability(_ calibration: Document, _ html: inout HTMLWriter) {
    let bins = calibration["bins"].elements.filter { ($0["count"].number ?? 0) > 0 }
    let error = calibration["expected_calibration_error"].number ?? 0
    let brier = calibration["brier"].number ?? 0
    var came = Chart.Series(
      "", colour: 0, bins.map { ($0["mean_probability"].number ?? .nan, $0["share"].number ?? .nan) })
    came.weights = bins.map { $0["count"].number ?? 0 }
    picture(
      "Calibration",
      "Probability of \(calibration["of"].text ?? ""), in tenths, against how often it came true; the area of a mark is its rows. Expected calibration "
        + "error \(Figures.fixed(error, 4)), Brier score \(Figures.fixed(brier, 4)).",
      Chart(
        title: "Share that came true by the mean probability of each tenth", xLabel: "probability",
        yLabel: "share that came true",
        series: [
          .init("", .dashed, colour: 5, [(0, 0), (1, 1)]),
          came,
        ], xRange: (0, 1), yRange: (0, 1), isSquare: true), &html)
  }

  // MARK: - threshold

  func threshold(_ html: inout HTMLWriter) {
    guard !report["thresholds"].elements.isEmpty else { return }
    let label = report["labels"].elements.last?.text ?? ""
    let served = report["threshold"]["threshold"].number ?? 0.5
    html.element(
      "p",
      "Rows whose probability of \(label) is at least the threshold count as \(label). The served class has "
        + "\(Figures.short(served)).")
    thresholds(of: report, &html)
  }

  /// - Parameter figures: the report, or its figures by weight.
  private func thresholds(of figures: Document, _ html: inout HTMLWriter) {
    let steps = figures["thresholds"].elements
    guard !steps.isEmpty else { return }
    let label = report["labels"].elements.last?.text ?? ""
    func points(_ key: String) -> [(x: Double, y: Double)] {
      steps.map { ($0["threshold"].number ?? .nan, $0[key].number ?? .nan) }
    }
    html.element("div", ["class": "pictures"]) { pictures in
      let keys = ["precision", "recall", "f1"]
      let chosen = figures["threshold"]
      var chart = Chart(
        title: "Precision, recall and F1 by threshold", xLabel: "threshold", yLabel: "figure",
        series: keys.enumerated().map { .init(Self.name(of: $1), colour: $0, points($1)) }, xRange: (0, 1),
        yRange: (0, 1))
      if let chosen = chosen["threshold"].number {
        chart.series.append(.init("chosen", .dashed, colour: 5, [(chosen, 0), (chosen, 1)]))
      }
      picture("\(label) by threshold", "", chart, &pictures)
      guard let value = chosen["threshold"].number else { return }
      pictures.element("div") { div in
        let keys = ["precision", "recall", "f1", "accuracy", "balanced_accuracy", "mcc"]
        table(
          "Chosen on the validation rows for \(Self.name(of: chosen["for"].text ?? "")); figures of the test rows.",
          ["", "at 0.5", "at \(Figures.fixed(value, 4))"],
          keys.map { key in
            [Self.name(of: key)]
              + ["test_at_half", "test"].map { chosen[$0][key].number.map { Figures.fixed($0, 4) } ?? "–" }
          }, &div)
      }
    }
  }

  // MARK: - residuals

  func residuals(_ html: inout HTMLWriter) { residuals(of: report, &html) }

  /// - Parameter figures: the report, or its figures by weight.
  private func residuals(of figures: Document, _ html: inout HTMLWriter) {
    let residuals = figures["residuals"]
    guard residuals != .null else { return }
    let points = Self.points(residuals["points"])
    let values = points.flatMap { [$0.x, $0.y] }
    html.element("div", ["class": "pictures"]) { pictures in
      if let low = values.min(), let high = values.max() {
        picture(
          "Truth and prediction",
          points.count < (report["rows"]["test"].integer ?? 0) ? "\(points.count) rows, taken at random." : "",
          Chart(
            title: "True values against predicted ones", xLabel: "predicted", yLabel: "true",
            series: [
              .init("", .dashed, colour: 5, [(low, low), (high, high)]), .init("", .dots, colour: 0, points),
            ], isSquare: true), &pictures)
      }
      let counts = residuals["histogram"].elements.compactMap(\.number)
      if let from = residuals["from"].number, let to = residuals["to"].number, !counts.isEmpty, to > from {
        let width = (to - from) / Double(counts.count)
        picture(
          "True minus predicted",
          "Mean \(Self.figure(residuals["mean"].number ?? 0)), deviation "
            + "\(Self.figure(residuals["deviation"].number ?? 0)).",
          Chart(
            title: "Histogram of the residuals", xLabel: "true − predicted", yLabel: points.isEmpty ? "weight" : "rows",
            series: [
              .init("", .bars, colour: 0, counts.enumerated().map { (from + (Double($0) + 0.5) * width, $1) })
            ]), &pictures)
      }
      pictures.element("div") { div in
        table(
          "Quantiles of true minus predicted", ["quantile", "residual"],
          residuals["quantiles"].entries.map {
            ["\(Figures.short((Double($0.key) ?? 0) * 100)) %", Self.figure($0.value.number ?? 0)]
          }, &div)
      }
    }
  }
}
