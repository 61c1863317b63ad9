internal import Glibc
internal import NeedletailCore

/// A report as one HTML file without scripts or links to other files, drawn from the figures of `report.json`.
///
/// A section appears where its figures are there, so that a page can be made of reports of any command. Foreign text goes
/// through ``HTMLWriter`` and nowhere else.
public struct ReportPage {
  let report: Document

  /// - Parameter report: what `report.json` holds.
  public init(_ report: Document) { self.report = report }

  var isClassification: Bool { report["task"].text == "classification" }

  /// Sections by the names of their anchors, in their order.
  private static var sections: [(anchor: String, title: String, write: (ReportPage, inout HTMLWriter) -> Void)] {
    [
      ("learning", "Learning", { $0.learning(&$1) }),
      ("classes", "Classes", { $0.classes(&$1) }),
      ("weights", "Weights", { $0.weights(&$1) }),
      ("curves", "Curves", { $0.curves(&$1) }),
      ("threshold", "Threshold", { $0.threshold(&$1) }),
      ("residuals", "Residuals", { $0.residuals(&$1) }),
      ("importance", "Importance", { $0.importance(&$1) }),
      ("dependence", "Partial dependence", { $0.dependence(&$1) }),
      ("subgroups", "Subgroups", { $0.subgroups(&$1) }),
      ("robustness", "Robustness", { $0.robustness(&$1) }),
      ("worst", "Worst errors", { $0.worst(&$1) }),
      ("tuning", "Tuning", { $0.tuning(&$1) }),
      ("speed", "Precision and speed", { $0.speed(&$1) }),
      ("cost", "Cost of the training", { $0.cost(&$1) }),
      ("data", "Data", { $0.data(&$1) }),
      ("settings", "Run file", { $0.settings(&$1) }),
    ]
  }

  /// The whole file.
  public var html: String {
    let title = "\(report["model"].text ?? "model") \(report["version"].integer.map { String($0) } ?? "")"
    var parts: [(anchor: String, title: String, html: HTMLWriter)] = []
    for section in Self.sections {
      var part = HTMLWriter()
      section.write(self, &part)
      if !part.html.isEmpty { parts.append((section.anchor, section.title, part)) }
    }
    var page = HTMLWriter()
    page.trusted("<!doctype html>\n")
    page.element("html", ["lang": "en"]) { html in
      html.element("head") { head in
        head.void("meta", ["charset": "utf-8"])
        head.void("meta", ["name": "viewport", "content": "width=device-width, initial-scale=1"])
        head.element("title", title + " – report")
        head.element("style") { $0.trusted(String(decoding: PackageResources.report_css, as: UTF8.self)) }
      }
      html.element("body") { body in
        header(title, parts.map { ($0.anchor, $0.title) }, &body)
        body.element("main") { main in
          for part in parts {
            main.element("section", ["id": part.anchor]) { section in
              section.element("h2", part.title)
              section.trusted(part.html.html)
            }
          }
        }
        body.element("footer") { footer in
          footer.text("Written by needletail-trainer \(report["trainer"].text ?? needletailVersion).")
        }
      }
    }
    return page.html + "\n"
  }

  // MARK: - header

  private func header(_ title: String, _ anchors: [(String, String)], _ body: inout HTMLWriter) {
    body.element("header") { header in
      header.element("h1") { h1 in
        h1.text(title)
        let facts = [report["family"].text, report["precision"].text, report["created"].text].compactMap { $0 }
        h1.element("span", facts.joined(separator: " · "))
      }
      header.element("p", summary)
      header.element("dl", ["class": "tiles"]) { tiles in
        for figure in headline { tile(figure.name, figure.value, figure.note, &tiles) }
      }
      notes(&header)
      header.element("nav", ["aria-label": "Sections"]) { nav in
        for (anchor, title) in anchors { nav.element("a", ["href": "#\(anchor)"], title) }
      }
    }
  }

  private func tile(_ name: String, _ value: String, _ note: String, _ html: inout HTMLWriter) {
    html.element("div") { div in
      div.element("dt", name)
      div.element("dd") { dd in
        dd.text(value)
        if !note.isEmpty { dd.element("small", note) }
      }
    }
  }

  private var summary: String {
    let rows = report["rows"]
    var parts: [String] = []
    if let target = report["target"].text { parts.append("Predicts \(target)") }
    for (key, word) in [("train", "training"), ("validation", "validation"), ("test", "test")] {
      if let count = rows[key].integer, count > 0 { parts.append("\(Figures.count(count)) \(word) rows") }
    }
    if let count = report["features"].integer { parts.append("\(Figures.count(count)) features") }
    let labels = report["labels"].elements.count
    if labels > 0 { parts.append("\(Figures.count(labels)) classes") }
    return parts.joined(separator: " · ")
  }

  /// The figures that people ask for first, on the test rows, with those of the validation rows below.
  private var headline: [(name: String, value: String, note: String)] {
    let test = report["test"]
    var found: [(name: String, value: String, note: String)] = []
    for key in ["accuracy", "auc", "f1_macro", "log_loss", "ndcg", "r2", "rmse", "mae"] {
      guard let value = test[key].number else { continue }
      let validation = report["validation"][key].number.map { "validation \(Self.figure($0))" } ?? ""
      found.append((Self.name(of: key), Self.figure(value), validation))
    }
    if let microseconds = report["microseconds_per_row"].number {
      let bytes = report["bundle_bytes"].integer.map { "bundle \(Figures.bytes($0))" } ?? ""
      found.append(("one row", Figures.microseconds(microseconds), bytes))
    }
    return found
  }

  private func notes(_ html: inout HTMLWriter) {
    let warnings = report["warnings"].elements.compactMap(\.text)
    let notes = report["notes"].elements.compactMap(\.text)
    guard !warnings.isEmpty || !notes.isEmpty else { return }
    html.element("ul", ["class": "notes"]) { list in
      for warning in warnings { list.element("li", ["class": "warn"], warning) }
      for note in notes { list.element("li", ["class": "good"], note) }
    }
  }

  // MARK: - parts of pages

  /// `f1_macro` as `F1, macro`.
  static func name(of key: String) -> String {
    let names = [
      "auc": "ROC AUC", "r2": "R²", "rmse": "RMSE", "mse": "MSE", "mae": "MAE", "f1": "F1", "mcc": "MCC",
      "ndcg": "NDCG",
      "f1_macro": "F1, macro", "precision_macro": "precision, macro", "recall_macro": "recall, macro",
    ]
    return names[key] ?? key.split(separator: "_").joined(separator: " ")
  }

  /// A figure with the digits that matter.
  static func figure(_ value: Double) -> String {
    if value == 0 { return "0" }
    return abs(value) >= 100
      ? Figures.short(value) : abs(value) < 0.001 ? Figures.short(value) : Figures.fixed(value, 4)
  }

  static func text(_ value: Document) -> String {
    switch value {
    case .text(let text): text
    case .null: "–"
    case .integer(let integer): Figures.count(integer)
    case .flag(let flag): flag ? "true" : "false"
    default: value.number.map { Figures.short($0) } ?? ""
    }
  }

  /// A picture with its words.
  func picture(_ title: String, _ caption: String = "", _ chart: Chart, _ html: inout HTMLWriter) {
    html.element("figure") { figure in
      figure.element("h3", title)
      chart.write(&figure)
      if !caption.isEmpty { figure.element("figcaption", caption) }
    }
  }

  /// A table whose first column names the rows.
  func table(_ caption: String, _ head: [String], _ rows: [[String]], _ html: inout HTMLWriter) {
    html.element("div", ["class": "scroll"]) { scroll in
      scroll.element("table") { table in
        if !caption.isEmpty { table.element("caption", caption) }
        table.element("thead") { thead in
          thead.element("tr") { tr in
            for (index, name) in head.enumerated() {
              tr.element("th", ["scope": "col", "class": index == 0 ? "" : "num"], name)
            }
          }
        }
        table.element("tbody") { body in
          for row in rows {
            body.element("tr") { tr in
              for (index, cell) in row.enumerated() {
                if index == 0 {
                  tr.element("th", ["scope": "row"], cell)
                } else {
                  tr.element("td", ["class": "num"], cell)
                }
              }
            }
          }
        }
      }
    }
  }

  static func points(_ list: Document) -> [(x: Double, y: Double)] {
    list.elements.compactMap { pair in
      guard pair.elements.count == 2, let x = pair.elements[0].number, let y = pair.elements[1].number else {
        return nil
      }
      return (x, y)
    }
  }

  // MARK: - data and settings

  private func data(_ html: inout HTMLWriter) {
    let rows = report["rows"]
    guard !rows.entries.isEmpty else { return }
    table("", ["", "rows"], rows.entries.map { [Self.name(of: $0.key), Self.text($0.value)] }, &html)
    if let files = report["files"].text { html.element("p", "Files: \(files)") }
    if let hash = report["data_sha256"].text { html.element("p", "SHA-256 of the data: \(hash)") }
  }

  private func settings(_ html: inout HTMLWriter) {
    guard let text = report["settings"].text, !text.isEmpty else { return }
    html.element("p", "With all defaults merged in.")
    html.element("pre") { pre in
      // Line ends are kept here and nowhere else.
      for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
        pre.text(String(line))
        pre.trusted("\n")
      }
    }
  }
}
