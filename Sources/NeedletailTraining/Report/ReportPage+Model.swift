internal import NeedletailCore

/// What the model makes of its features, where it fails, and what it costs.
extension ReportPage {
  /// Features and trials that are shown; `report.json` has all.
  private static let featuresMax = 20
  private static let trialsMax = 10

  func importance(_ html: inout HTMLWriter) {
    let features = report["importance"].elements
    guard !features.isEmpty else { return }
    func value(_ feature: Document) -> Double {
      feature["permutation"].number ?? feature["mean_contribution"].number ?? feature["gain_share"].number ?? 0
    }
    let sorted = features.sorted { value($0) > value($1) }
    let largest = sorted.first.map(value) ?? 0
    let metric = Self.name(of: report["permutation_metric"].text ?? "loss")
    html.element(
      "p",
      "How much the \(metric) of test rows rises where a feature's values are shuffled among them, with the deviation over "
        + "five shuffles. A feature that repeats another looks less important than it is.")
    let columns: [(key: String, title: String)] = [
      ("mean_contribution", "mean contribution"), ("gain_share", "gain"), ("splits", "splits"),
    ].filter { column in features.contains { ($0[column.key].number ?? 0) > 0 } }
    html.element("div", ["class": "scroll"]) { scroll in
      scroll.element("table") { table in
        table.element("thead") { thead in
          thead.element("tr") { tr in
            tr.element("th", ["scope": "col"], "feature")
            tr.element("th", ["scope": "col"], "")
            tr.element("th", ["scope": "col", "class": "num"], "rise of the \(metric)")
            for column in columns { tr.element("th", ["scope": "col", "class": "num"], column.title) }
          }
        }
        table.element("tbody") { body in
          for feature in sorted.prefix(Self.featuresMax) {
            body.element("tr") { tr in
              tr.element("th", ["scope": "row"], Chart.shortened(feature["feature"].text ?? "", to: 40))
              tr.element("td") { td in
                td.element("div", ["class": "track"]) { track in
                  let share = largest > 0 ? max(0, value(feature) / largest) : 0
                  track.element("span", ["style": "width: \(Figures.fixed(share * 100, 1))%"], "")
                }
              }
              let deviation = feature["permutation_deviation"].number.map { " ± \(Figures.short($0))" } ?? ""
              tr.element("td", ["class": "num"], (feature["permutation"].number.map(Self.figure) ?? "–") + deviation)
              for column in columns {
                let text =
                  column.key == "gain_share"
                  ? Figures.fixed((feature[column.key].number ?? 0) * 100, 1) + " %" : Self.text(feature[column.key])
                tr.element("td", ["class": "num"], text)
              }
            }
          }
        }
      }
    }
    let others = features.count - Self.featuresMax
    if others > 0 { html.element("p", "\(Figures.count(others)) more features are in report.json.") }
  }

  func dependence(_ html: inout HTMLWriter) {
    let parts = report["partial_dependence"].elements
    guard !parts.isEmpty else { return }
    let answer = isClassification ? "probability" : "prediction"
    html.element(
      "p",
      "Mean \(answer) of up to \(ModelProbe.dependenceRowsMax) rows if all had the same value of one feature. Marks above "
        + "the axis are the tenths of its distribution.")
    // One scale for all, or a feature that hardly matters would look like one that does.
    let all = parts.flatMap { $0["series"].elements.flatMap { $0["values"].elements.compactMap(\.number) } }
    let (low, high) = (all.min() ?? 0, all.max() ?? 1)
    let margin = max((high - low) * 0.05, 1e-9)
    html.element("div", ["class": "pictures"]) { pictures in
      for part in parts {
        let feature = part["feature"].text ?? ""
        let grid = part["grid"].elements
        let names = grid.compactMap(\.text)
        let isCategorical = names.count == grid.count
        let all = part["series"].elements
        var chart = Chart(
          title: "Mean \(answer) by \(feature)", xLabel: Chart.shortened(feature, to: 48), yLabel: answer,
          series: all.enumerated().map { index, series in
            let values = series["values"].elements.compactMap(\.number)
            let xs = isCategorical ? grid.indices.map { Double($0) } : grid.compactMap(\.number)
            return .init(
              series["name"].text ?? "", isCategorical ? .dots : .line, colour: index,
              Array(zip(xs, values)).map { ($0, $1) })
          }, yRange: (low - margin, high + margin), rug: part["deciles"].elements.compactMap(\.number))
        if isCategorical { chart.xNames = names }
        picture(Chart.shortened(feature, to: 48), "", chart, &pictures)
      }
    }
  }

  // MARK: - parts of the rows

  func subgroups(_ html: inout HTMLWriter) {
    guard !report["subgroups"].elements.isEmpty else { return }
    html.element(
      "p", "Figures of the test rows of each group. Those of few rows swing: an accuracy of 0.9 on 50 rows by ± 0.04.")
    subgroups(by: "figures", rows: "rows", &html)
  }

  /// - Parameters:
  ///   - key: the figures of a group that are shown.
  ///   - rows: what says how many rows it has, or their weight.
  func subgroups(by key: String, rows: String, _ html: inout HTMLWriter) {
    let keys =
      isClassification
      ? ["accuracy", "f1_macro", "auc", "log_loss", "predicted_rate", "true_rate"] : ["r2", "rmse", "mae", "bias"]
    for column in report["subgroups"].elements {
      let groups = column["groups"].elements
      let shown = keys.filter { name in groups.contains { $0[key][name].number != nil } }
      guard !shown.isEmpty else { continue }
      table(
        column["column"].text ?? "", ["group", rows] + shown.map(Self.name(of:)),
        groups.map { group in
          [group["group"].text ?? "", Self.text(group[rows])]
            + shown.map { group[key][$0].number.map(Self.figure) ?? "–" }
        }, &html)
    }
  }

  func robustness(_ html: inout HTMLWriter) {
    let parts = report["robustness"].elements
    let metric = isClassification ? "accuracy" : "r2"
    func points(_ kind: String) -> [(x: Double, y: Double)] {
      parts.filter { $0["kind"].text == kind }.map {
        ($0["level"].number ?? .nan, $0["figures"][metric].number ?? .nan)
      }
    }
    let (noise, missing) = (points("noise"), points("missing"))
    guard noise.count > 1 || missing.count > 1 else { return }
    let name = Self.name(of: metric)
    html.element("div", ["class": "pictures"]) { pictures in
      if noise.count > 1 {
        picture(
          "Noise", "Normal noise on every number, its deviation a part of the number's own.",
          Chart(
            title: "\(name) by noise", xLabel: "noise, in deviations", yLabel: name,
            series: [.init("", colour: 0, noise)]),
          &pictures)
      }
      if missing.count > 1 {
        picture(
          "Missing values", "Values that go missing at random, in the features that take missing ones.",
          Chart(
            title: "\(name) by missing values", xLabel: "part that is missing", yLabel: name,
            series: [.init("", colour: 0, missing)]), &pictures)
      }
    }
  }

  func worst(_ html: inout HTMLWriter) {
    let rows = report["worst"].elements
    guard let first = rows.first else { return }
    html.element(
      "p",
      isClassification
        ? "Test rows whose true class the model thought least likely: often wrong labels, or what the features do not tell."
        : "Test rows that the model misses by most.")
    let features = first["features"].entries.map(\.key)
    let hasProbability = first["probability_of_truth"].number != nil
    table(
      "",
      ["row", "truth", "predicted"] + (hasProbability ? ["probability of truth"] : [])
        + features.map { Chart.shortened($0, to: 32) },
      rows.map { row in
        [Self.text(row["row"]), Self.text(row["truth"]), Self.text(row["predicted"])]
          + (hasProbability ? [row["probability_of_truth"].number.map { Figures.short($0) } ?? "–"] : [])
          + row["features"].entries.map { Chart.shortened(Self.text($0.value), to: 32) }
      }, &html)
  }

  // MARK: - tuning

  /// `tuning` holds `metric`, `direction` (`maximise` or `minimise`), `trials` with `trial`, `value`, `state` and
  /// `parameters`, and `importance` with `parameter` and `importance`.
  func tuning(_ html: inout HTMLWriter) {
    let tuning = report["tuning"]
    let trials = tuning["trials"].elements
    guard !trials.isEmpty else { return }
    let isLarger = tuning["direction"].text != "minimise"
    let metric = Self.name(of: tuning["metric"].text ?? "objective")
    let finished = trials.filter { $0["value"].number != nil }
    var best: [(x: Double, y: Double)] = []
    for trial in finished {
      let (x, y) = (trial["trial"].number ?? 0, trial["value"].number ?? 0)
      best.append((x, best.last.map { isLarger ? max($0.y, y) : min($0.y, y) } ?? y))
    }
    html.element("div", ["class": "pictures"]) { pictures in
      picture(
        "History", "\(Figures.count(trials.count)) trials, \(Figures.count(finished.count)) with a value.",
        Chart(
          title: "\(metric) of each trial, and the best so far", xLabel: "trial", yLabel: metric,
          series: [
            .init("trial", .dots, colour: 0, finished.map { ($0["trial"].number ?? 0, $0["value"].number ?? 0) }),
            .init("best so far", colour: 1, best),
          ]), &pictures)
      let importance = tuning["importance"].elements
      if !importance.isEmpty {
        pictures.element("div") { div in
          table(
            "Importance of the parameters", ["parameter", "importance"],
            importance.map {
              [$0["parameter"].text ?? "", $0["importance"].number.map { Figures.fixed($0, 3) } ?? "–"]
            },
            &div)
        }
      }
    }
    let sorted = finished.sorted {
      let (a, b) = ($0["value"].number ?? 0, $1["value"].number ?? 0)
      return isLarger ? a > b : a < b
    }
    table(
      "The best trials", ["trial", metric] + (sorted.first?["parameters"].entries.map(\.key) ?? []),
      sorted.prefix(Self.trialsMax).map { trial in
        [Self.text(trial["trial"]), Self.figure(trial["value"].number ?? 0)]
          + trial["parameters"].entries.map { Self.text($0.value) }
      }, &html)
  }

  // MARK: - cost

  /// `cost` holds `parameters`, and `modes` with `mode`, `learning`, `share`, `memory_bytes` and `serving_share`, and of the
  /// one that was trained `epochs`, `seconds` and `seconds_per_epoch`.
  func cost(_ html: inout HTMLWriter) {
    let modes = report["cost"]["modes"].elements
    guard !modes.isEmpty else { return }
    html.element(
      "p",
      "Of \(Figures.count(report["cost"]["parameters"].integer ?? 0)) parameters that are served. Memory is that of "
        + "parameters, gradients, moments, the best weights and the numbers of a batch. What an answer computes more is "
        + "counted in multiply-adds of the layers; how long one takes stands under Precision and speed. Another mode is "
        + "another run.")
    let metric = isClassification ? "accuracy" : "r2"
    table(
      "",
      [
        "mode", "parameters that learn", "of all", "memory", "an answer computes", "epochs", "an epoch", "all",
        Self.name(of: metric),
      ],
      modes.map { mode in
        let isOwn = mode["seconds"].number != nil
        func seconds(_ key: String) -> String { mode[key].number.map { Figures.fixed($0, 1) + " s" } ?? "–" }
        return [
          mode["mode"].text ?? "", Figures.count(mode["learning"].integer ?? 0),
          Figures.fixed((mode["share"].number ?? 0) * 100, 2) + " %",
          mode["memory_bytes"].integer.map(Figures.bytes) ?? "–",
          mode["serving_share"].number.map { $0 > 0 ? "+ \(Figures.fixed($0 * 100, 1)) %" : "as the base" } ?? "–",
          mode["epochs"].integer.map(Figures.count) ?? "–",
          seconds("seconds_per_epoch"), seconds("seconds"),
          isOwn ? report["test"][metric].number.map(Self.figure) ?? "–" : "–",
        ]
      }, &html)
  }

  func speed(_ html: inout HTMLWriter) {
    let latency = report["latency"].elements
    let fp32 = report["test_fp32"].entries
    let decision = report["quantisation"]["decision"].text
    guard !latency.isEmpty || decision != nil else { return }
    if let decision { html.element("p", "Precision: \(decision).") }
    if report["precision"].text != "fp32", !fp32.isEmpty {
      table(
        "Test rows, both measured on the serving engine", ["", "fp32", report["precision"].text ?? ""],
        fp32.map { entry in
          [Self.name(of: entry.key)]
            + [entry.value, report["test"][entry.key]].map { $0.number.map(Self.figure) ?? "–" }
        } + [
          ["weights"] + ["tensor_bytes_fp32", "tensor_bytes"].map { report[$0].integer.map(Figures.bytes) ?? "–" },
          ["one row"]
            + ["microseconds_per_row_fp32", "microseconds_per_row"].map {
              report[$0].number.map(Figures.microseconds) ?? "–"
            },
        ], &html)
      if let agreement = report["quantisation"]["agreement"].number {
        html.element(
          "p", "Both answer the same class in \(Figures.fixed(agreement * 100, 2)) % of the test rows.")
      }
    }
    if !latency.isEmpty {
      table(
        "Median time of a batch on one thread of \(report["isa"].text ?? "this machine"), binding of the raw row included",
        ["rows at once", "batch", "each row", "rows a second"],
        latency.map { part in
          let each = part["microseconds_per_row"].number ?? 0
          return [
            Self.text(part["batch"]), Figures.microseconds(part["microseconds"].number ?? 0),
            Figures.microseconds(each), each > 0 ? Figures.count(Int(1e6 / each)) : "–",
          ]
        }, &html)
    }
  }
}
