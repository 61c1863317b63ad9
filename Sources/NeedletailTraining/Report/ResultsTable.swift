internal import NeedletailBundle
public import NeedletailCore
internal import NeedletailEngine

/// Table that a run ends with, for people.
public struct ResultsTable {
  private let terminal: Terminal

  public init(terminal: Terminal) { self.terminal = terminal }

  /// - Parameters:
  ///   - version: version that the bundle was given.
  ///   - paths: what was written, and where: `("bundle", "out/model.ntb")`.
  public func render(
    _ trained: TrainedModel, version: ModelVersion, bundleBytes: Int, paths: [(label: String, path: String)]
  ) -> String {
    var lines = heading(trained, version)
    lines.append("")
    lines += figures(trained, bundleBytes: bundleBytes)
    lines.append("")
    lines.append("  " + terminal.dim("quantisation") + "  " + trained.quantisation)
    for note in trained.notes { lines.append("  " + terminal.dim("training    ") + "  " + note) }
    for warning in trained.warnings { lines.append("  " + terminal.yellow("warning     ") + "  " + warning) }
    for path in paths {
      let label = path.label + String(repeating: " ", count: max(0, 12 - path.label.count))
      lines.append("  " + terminal.dim(label) + "  " + path.path)
    }
    return lines.joined(separator: "\n") + "\n"
  }

  private func heading(_ trained: TrainedModel, _ version: ModelVersion) -> [String] {
    let configuration = trained.configuration
    let data = trained.data
    let schema = trained.contents.definition.schema
    var rows =
      "\(Figures.count(data.split.train.count)) training, \(Figures.count(data.split.validation.count)) validation, "
      + "\(Figures.count(data.split.test.count)) test rows · \(Figures.count(schema.features.count)) features"
    if !data.labels.isEmpty { rows += " · \(data.labels.count) classes" }
    var lines = [
      terminal.bold("  \(configuration.model) \(version)")
        + "  \(configuration.family.name) · \(trained.precision) · fitted in \(Figures.duration(trained.fitSeconds))",
      "  " + terminal.dim(rows),
    ]
    if data.dataset.duplicatesDropped + data.dataset.unlabelledDropped > 0 {
      lines.append(
        "  "
          + terminal.dim(
            "\(Figures.count(data.dataset.rowsRead)) rows read, \(Figures.count(data.dataset.duplicatesDropped)) duplicates and "
              + "\(Figures.count(data.dataset.unlabelledDropped)) rows without a target dropped"))
    }
    return lines
  }

  private func figures(_ trained: TrainedModel, bundleBytes: Int) -> [String] {
    let isQuantised = !trained.decision.int8Layers.isEmpty
    var rows: [[String]] = [isQuantised ? ["test", "fp32", trained.precision, "change"] : ["test", "fp32"]]
    for (index, figure) in trained.fp32TestFigures.enumerated() {
      var row = [figure.name.split(separator: "_").joined(separator: " "), Self.text(figure.value)]
      if isQuantised {
        let value = trained.testFigures[index].value
        row += [Self.text(value), Self.signed(value - figure.value)]
      }
      rows.append(row)
    }
    var weights = ["weights", Figures.bytes(trained.fp32.tensorBytes)]
    var latency = ["one row", Figures.microseconds(trained.fp32.microsecondsPerRow)]
    if isQuantised {
      weights += [
        Figures.bytes(trained.chosen.tensorBytes),
        Self.ratio(Double(trained.chosen.tensorBytes), Double(trained.fp32.tensorBytes)),
      ]
      latency += [
        Figures.microseconds(trained.chosen.microsecondsPerRow),
        Self.ratio(trained.chosen.microsecondsPerRow, trained.fp32.microsecondsPerRow),
      ]
    }
    rows += [weights, latency, ["bundle", (isQuantised ? "" : Figures.bytes(bundleBytes))]]
    if isQuantised { rows[rows.count - 1] += [Figures.bytes(bundleBytes), ""] }
    return Self.aligned(rows).enumerated().map { index, row in
      "  " + (index == 0 ? terminal.bold(row) : row)
    }
  }

  /// Rows padded to columns: the first to the left, the others to the right.
  static func aligned(_ rows: [[String]]) -> [String] {
    let columns = rows.map(\.count).max() ?? 0
    let widths = (0..<columns).map { column in rows.map { $0.count > column ? $0[column].count : 0 }.max() ?? 0 }
    return rows.map { row in
      row.enumerated().map { column, text in
        let padding = String(repeating: " ", count: widths[column] - text.count)
        return column == 0 ? text + padding : padding + text
      }.joined(separator: "   ")
    }
  }

  private static func text(_ value: Double) -> String {
    abs(value) >= 100 ? Figures.fixed(value, 2) : Figures.fixed(value, 4)
  }

  private static func signed(_ value: Double) -> String {
    (value < 0 ? "−" : "+") + text(abs(value))
  }

  private static func ratio(_ a: Double, _ b: Double) -> String {
    b > 0 ? "× " + Figures.fixed(a / b, 2) : ""
  }
}
