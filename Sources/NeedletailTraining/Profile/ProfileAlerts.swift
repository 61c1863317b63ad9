internal import NeedletailCore

extension TableProfile {
  /// Alerts, those about the target first.
  static func findAlerts(
    _ columns: [ColumnProfile], rows: Int, target: String?, correlations: [Correlation], powers: [Power],
    duplicates: DuplicateSearch
  ) -> [Alert] {
    var alerts: [Alert] = []
    if let target, let column = columns.first(where: { $0.name == target }) {
      alerts += targetAlerts(column, rows: rows)
    }
    for power in powers where power.power >= leakageMin {
      alerts.append(
        Alert(
          kind: .leakage, columns: [power.column],
          text:
            "\(power.column.quotedForMessage) alone tells the target (\(Figures.fixed(power.power, 3)) of 1): is it "
            + "known before the target is? Else add it to data.drop"))
    }
    for column in columns where column.name != target { alerts += columnAlerts(column) }
    for pair in correlations where abs(pair.value) >= correlationMax {
      guard pair.first != target, pair.second != target else { continue }
      alerts.append(
        Alert(
          kind: .correlated, columns: [pair.first, pair.second],
          text: "\(pair.first.quotedForMessage) and \(pair.second.quotedForMessage) go together "
            + "(\(Figures.fixed(pair.value, 3))): one of them will do"))
    }
    if Double(duplicates.exact) > duplicateShareMax * Double(rows) {
      alerts.append(
        Alert(
          kind: .duplicates, columns: [],
          text: "\(Figures.count(duplicates.exact)) rows repeat an earlier one: if they are copies rather than equal "
            + "cases, set data.duplicates: drop"))
    }
    if Double(duplicates.near) > duplicateShareMax * Double(duplicates.nearRows) {
      let of = duplicates.nearRows < rows ? " of the first \(Figures.count(duplicates.nearRows))" : ""
      alerts.append(
        Alert(
          kind: .nearDuplicates, columns: [],
          text: "\(Figures.count(duplicates.near))\(of) rows equal another one in all columns but one: keep such rows "
            + "together with target.group"))
    }
    return alerts
  }

  private static func targetAlerts(_ column: ColumnProfile, rows: Int) -> [Alert] {
    var alerts: [Alert] = []
    if column.missing > 0 {
      alerts.append(
        Alert(
          kind: .unlabelled, columns: [column.name],
          text: "\(Figures.count(column.missing)) rows have no target: they are left out"))
    }
    if let top = column.texts?.top.first, column.distinct > 1,
      Double(top.count) >= frequentShareMax * Double(rows - column.missing)
    {
      alerts.append(
        Alert(
          kind: .imbalanced, columns: [column.name],
          text: "\(share(top.count, rows - column.missing)) of the rows have the target "
            + "\(top.value.quotedForMessage): judge by AUC or F1 rather than by accuracy"))
    }
    return alerts
  }

  /// Texts that a model can hardly learn from, where they are more than a hundredth.
  private static func textAlerts(_ column: ColumnProfile, _ quality: TextQuality) -> [Alert] {
    let words = [
      "short": "have fewer than \(TextQuality.wordsMin) words",
      "repeated": "repeat an earlier one: keep copies together with target.group, or the test rows are known",
      "markup": "hold tags or entities of HTML: take them out, in training and in what is sent to the model",
      "garbled": "have signs of a wrong encoding: read the source again as what it is",
      "controls": "hold control characters",
    ]
    return quality.faults.compactMap { fault in
      guard Double(fault.count) > duplicateShareMax * Double(quality.texts), let what = words[fault.name] else {
        return nil
      }
      return Alert(
        kind: .text, columns: [column.name],
        text: "\(share(fault.count, quality.texts)) of the texts in \(column.name.quotedForMessage) \(what)")
    }
  }

  private static func columnAlerts(_ column: ColumnProfile) -> [Alert] {
    let name = column.name.quotedForMessage
    func alert(_ kind: Alert.Kind, _ text: String) -> Alert {
      Alert(kind: kind, columns: [column.name], text: "\(name) \(text)")
    }
    if column.missing == column.rows { return [alert(.empty, "has no value in any row: add it to data.drop")] }
    if column.distinct == 1, column.missing == 0 { return [alert(.constant, "is the same in every row")] }
    if column.quality == nil, let reason = column.dropReason {
      return [alert(.identifier, "is no feature: \(reason)")]
    }
    var alerts: [Alert] = []
    if column.missingShare > missingShareMax {
      alerts.append(alert(.missing, "is missing in \(share(column.missing, column.rows)) of the rows"))
    }
    // No long text is a category.
    if let quality = column.quality { return alerts + textAlerts(column, quality) }
    if let top = column.texts?.top.first {
      if Double(top.count) >= frequentShareMax * Double(column.rows - column.missing) {
        alerts.append(
          alert(.imbalanced, "is \(top.value.quotedForMessage) in \(share(top.count, column.rows)) of the rows"))
      }
      if let variants = column.texts?.caseVariants, variants > 0 {
        alerts.append(
          alert(
            .spellings,
            "has \(variants == 1 ? "a value" : "\(Figures.count(variants)) values") apart from others only by "
              + "capitals"))
      }
    }
    if let numbers = column.numbers, column.type == .numeric, abs(numbers.skew) > skewMax {
      let advice = numbers.minimum > 0 ? ": its logarithm may do better in linear models" : ""
      alerts.append(alert(.skewed, "is skewed (\(Figures.fixed(numbers.skew, 1)))\(advice)"))
    }
    return alerts
  }

  static func share(_ part: Int, _ whole: Int) -> String {
    let percent = whole > 0 ? 100 * Double(part) / Double(whole) : 0
    return percent > 0 && percent < 0.1 ? "<0.1 %" : "\(Figures.fixed(percent, 1)) %"
  }
}
