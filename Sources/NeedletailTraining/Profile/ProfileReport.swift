internal import Foundation
internal import NeedletailCore

extension TableProfile {
  /// Rows of pairs that are shown.
  private static let pairsShown = 8

  /// The profile for people, at most 80 columns wide.
  public func render(_ terminal: Terminal) -> String {
    var text = terminal.bold(name) + ": \(Figures.count(rows)) rows × \(Figures.count(columns.count)) columns\n"
    for note in notes { text += wrapped(note, indent: "  ") }
    text += "\n" + terminal.bold("Quality \(Figures.fixed(quality, 0)) of 100")
    text +=
      " = 100 × \(Figures.fixed(completeness, 3)) cells filled × \(Figures.fixed(uniqueness, 3)) rows not repeated\n"
    text += "  × \(Figures.fixed(usability, 3)) columns to learn from\n\n"
    text += table(terminal, overview)
    let numbers = numberRows
    if numbers.count > 1 { text += "\n" + table(terminal, numbers) }
    let dates = dateRows
    if dates.count > 1 { text += "\n" + table(terminal, dates) }
    let texts = textRows
    if texts.count > 1 { text += "\n" + table(terminal, texts) }
    if target != nil, !powers.isEmpty {
      text +=
        "\n"
        + table(
          terminal,
          [["alone tells \(target ?? "")", "of 1"]]
            + powers.prefix(Self.pairsShown).map {
              [$0.column, Figures.fixed($0.power, 3)]
            })
    }
    let pairs = correlations.prefix(Self.pairsShown).filter { abs($0.value) >= 0.3 }
    if !pairs.isEmpty {
      text +=
        "\n"
        + table(
          terminal,
          [["go together", "", "r or V"]]
            + pairs.map {
              [$0.first, $0.second, Figures.fixed($0.value, 3)]
            })
    }
    text += "\n\(Figures.count(duplicates.exact)) rows repeat an earlier one"
    if duplicates.nearRows > 0 {
      text +=
        ", \(Figures.count(duplicates.near)) of \(Figures.count(duplicates.nearRows)) equal another but for one column"
    }
    text += "\n"
    if let annotators {
      text +=
        "\n\(annotators.first) and \(annotators.second) agree in \(Figures.fixed(100 * annotators.agreement.observed, 1)) % "
      text +=
        "of \(Figures.count(annotators.agreement.rows)) rows; Cohen's κ \(Figures.fixed(annotators.agreement.kappa, 3))\n"
    }
    if !alerts.isEmpty {
      text += "\n" + terminal.bold("Alerts") + "\n"
      for alert in alerts { text += wrapped(alert.text, indent: "  ", first: terminal.yellow("! ")) }
    }
    return text
  }

  private var overview: [[String]] {
    [["column", "type", "missing", "distinct", "values"]]
      + columns.map { column in
        let count = Figures.count(column.distinct) + (column.isDistinctExact ? "" : "+")
        return [
          column.name + (column.name == target ? " *" : ""), Self.word(column),
          column.missing == 0 ? "" : Self.share(column.missing, column.rows), count, Self.values(column),
        ]
      }
  }

  private static func word(_ column: ColumnProfile) -> String {
    switch column.type {
    case .numeric, .automatic: "number"
    case .categorical: column.dropReason == nil ? "category" : "text"
    case .bool: "bool"
    case .datetime: "date"
    case .text: "text"
    }
  }

  /// A histogram, or the most frequent values.
  private static func values(_ column: ColumnProfile) -> String {
    if let numbers = column.numbers {
      let most = numbers.histogram.max() ?? 0
      guard most > 0 else { return "" }
      let blocks = Array("▁▂▃▄▅▆▇█")
      return String(
        numbers.histogram.map { count in
          count == 0 ? " " : blocks[min(blocks.count - 1, count * blocks.count / most)]
        })
    }
    let top = column.texts?.top ?? []
    return top.map(\.value).joined(separator: ", ")
  }

  private var numberRows: [[String]] {
    [["column", "min", "5 %", "median", "mean", "95 %", "max", "skew"]]
      + columns.compactMap { column in
        guard let numbers = column.numbers, column.type == .numeric else { return nil }
        return [column.name]
          + [
            numbers.minimum, numbers.quantiles[0], numbers.quantiles[2], numbers.mean, numbers.quantiles[4],
            numbers.maximum,
          ].map(Self.compact) + [Figures.fixed(numbers.skew, 2)]
      }
  }

  private var dateRows: [[String]] {
    [["column", "first", "median", "last"]]
      + columns.compactMap { column in
        guard let numbers = column.numbers, column.type == .datetime else { return nil }
        return [column.name]
          + [numbers.minimum, numbers.quantiles[2], numbers.maximum].map { DateText.text($0.rounded()) }
      }
  }

  /// Quality of texts, and how many have each fault.
  private var textRows: [[String]] {
    [["text", "quality", "words"] + TextQuality().faults.map(\.name)]
      + columns.compactMap { column in
        guard let quality = column.quality else { return nil }
        return [column.name, Figures.fixed(quality.score, 0), Figures.fixed(quality.wordsMean, 1)]
          + quality.faults.map { $0.count == 0 ? "" : Figures.count($0.count) }
      }
  }

  /// A number in at most seven characters: `12.3k`, `-0.4567`.
  private static func compact(_ value: Double) -> String {
    let size = abs(value)
    if size == 0 || (size >= 1e-3 && size < 1e4) { return Figures.short(value) }
    for (factor, letter) in [(1e3, "k"), (1e6, "M"), (1e9, "G"), (1e12, "T")] where size >= 1e4 && size < factor * 1e3 {
      return String(format: "%.3g", value / factor) + letter
    }
    return String(format: "%.1e", value)
  }

  // MARK: - layout

  private static let widthMax = 80
  private static let nameWidthMax = 20

  /// Columns side by side: the first and those of words to the left, figures to the right; the last is cut at the edge.
  private func table(_ terminal: Terminal, _ rows: [[String]]) -> String {
    let count = rows[0].count
    var widths = (0..<count).map { column in rows.map { $0[column].count }.max() ?? 0 }
    widths[0] = min(widths[0], count > 6 ? 16 : Self.nameWidthMax)
    if count == 3 { widths[1] = min(widths[1], Self.nameWidthMax) }
    return rows.enumerated().map { index, row in
      var line = ""
      for (column, cell) in row.enumerated() {
        let room = column == count - 1 ? max(0, Self.widthMax - line.count) : widths[column]
        let cut = cell.count > room ? String(cell.prefix(max(0, room - 1))) + "…" : cell
        let padding = String(repeating: " ", count: max(0, min(widths[column], room) - cut.count))
        let isLeft = column == 0 || isWords(rows, column)
        line += isLeft ? cut + (column < count - 1 ? padding : "") : padding + cut
        if column < count - 1 { line += "  " }
      }
      while line.last == " " { line.removeLast() }
      return (index == 0 ? terminal.dim(line) : line) + "\n"
    }.joined()
  }

  private func isWords(_ rows: [[String]], _ column: Int) -> Bool {
    ["type", "values", "go together", ""].contains(rows[0][column])
  }

  private func wrapped(_ text: String, indent: String, first: String = "") -> String {
    var lines: [String] = []
    var line = ""
    for word in text.split(separator: " ") {
      if !line.isEmpty, line.count + word.count + 3 > Self.widthMax - indent.count {
        lines.append(line)
        line = ""
      }
      line += line.isEmpty ? String(word) : " \(word)"
    }
    lines.append(line)
    let lead = first.isEmpty ? indent : first
    return lines.enumerated().map { ($0.offset == 0 ? lead : indent) + $0.element + "\n" }.joined()
  }

  // MARK: - JSON

  /// Every figure, for other programs.
  public var document: Document {
    .section([
      .init("file", .text(name)), .init("rows", .integer(rows)), .init("target", target.map { .text($0) } ?? .null),
      .init(
        "quality",
        .section([
          .init("score", .number(quality)), .init("completeness", .number(completeness)),
          .init("uniqueness", .number(uniqueness)), .init("usability", .number(usability)),
        ])),
      .init("columns", .list(columns.map(\.document))),
      .init(
        "target_power",
        .list(powers.map { .section([.init("column", .text($0.column)), .init("power", .number($0.power))]) })),
      .init(
        "correlations",
        .list(
          correlations.map {
            .section([
              .init("first", .text($0.first)), .init("second", .text($0.second)), .init("value", .number($0.value)),
            ])
          })),
      .init(
        "duplicates",
        .section([
          .init("exact", .integer(duplicates.exact)), .init("near", .integer(duplicates.near)),
          .init("near_rows", .integer(duplicates.nearRows)),
        ])),
      .init("annotators", annotators.map { .section(Self.entries($0.first, $0.second, $0.agreement)) } ?? .null),
      .init(
        "alerts",
        .list(
          alerts.map {
            .section([
              .init("kind", .text($0.kind.rawValue)), .init("columns", .list($0.columns.map { .text($0) })),
              .init("text", .text($0.text)),
            ])
          })),
      .init("notes", .list(notes.map { .text($0) })),
    ])
  }

  private static func entries(
    _ first: String, _ second: String, _ agreement: Association.Agreement
  ) -> [Document.Entry] {
    [
      .init("first", .text(first)), .init("second", .text(second)), .init("rows", .integer(agreement.rows)),
      .init("observed", .number(agreement.observed)), .init("expected", .number(agreement.expected)),
      .init("kappa", .number(agreement.kappa)),
    ]
  }
}

extension ColumnProfile {
  fileprivate var document: Document {
    var entries: [Document.Entry] = [
      .init("name", .text(name)), .init("type", .text(type.rawValue)), .init("rows", .integer(rows)),
      .init("missing", .integer(missing)), .init("distinct", .integer(distinct)),
      .init("distinct_is_exact", .flag(isDistinctExact)),
      .init("no_feature_because", dropReason.map { .text($0) } ?? .null),
    ]
    if let numbers {
      entries += [
        .init("min", .number(numbers.minimum)), .init("max", .number(numbers.maximum)),
        .init("mean", .number(numbers.mean)), .init("deviation", .number(numbers.deviation)),
        .init("skew", .number(numbers.skew)), .init("zeros", .integer(numbers.zeros)),
        .init("outliers", .integer(numbers.outliers)),
        .init(
          "quantiles", .section(zip(["5", "25", "50", "75", "95"], numbers.quantiles).map { .init($0, .number($1)) })),
        .init("histogram", .list(numbers.histogram.map { .integer($0) })),
      ]
    }
    if let texts {
      entries += [
        .init("bytes_mean", .number(texts.bytesMean)), .init("case_variants", .integer(texts.caseVariants)),
        .init(
          "top",
          .list(texts.top.map { .section([.init("value", .text($0.value)), .init("count", .integer($0.count))]) })),
      ]
    }
    if let quality {
      entries.append(
        .init(
          "text_quality",
          .section(
            [
              .init("score", .number(quality.score)), .init("texts", .integer(quality.texts)),
              .init("words_mean", .number(quality.wordsMean)), .init("bytes_max", .integer(quality.bytesMax)),
              .init("faulty", .integer(quality.faulty)),
            ] + quality.faults.map { .init($0.name, .integer($0.count)) })))
    }
    return .section(entries)
  }
}
