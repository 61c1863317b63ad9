internal import NeedletailCore

/// Summarises how training inputs and answers were distributed, for later comparison.
enum DriftRecorder {
  /// Bins that numbers are cut into, of about equal counts.
  static let binCount = 10
  /// Most frequent categories that are kept.
  static let categoriesMax = 1000

  /// - Parameters:
  ///   - features: the table of all rows.
  ///   - rows: the training split.
  ///   - prediction: the model's own answers for these rows.
  static func record(features: Table, rows: [Int], prediction: Table.Column) -> DriftBaseline {
    DriftBaseline(
      features: features.columns.map { column($0, rows: rows) },
      prediction: column(prediction, rows: Array(0..<prediction.count)))
  }

  /// Distribution of one column over some rows.
  static func column(_ column: Table.Column, rows: [Int]) -> DriftBaseline.Column {
    let missing = rows.count { column.isMissing($0) }
    var baseline = DriftBaseline.Column(
      name: column.name, rows: rows.count, missingRate: rows.isEmpty ? 0 : Double(missing) / Double(rows.count))
    switch column.values {
    case .numbers(let numbers):
      let sorted = rows.map { numbers[$0] }.filter { !$0.isNaN }.sorted()
      guard !sorted.isEmpty else { break }
      for tenth in 0...binCount {
        let edge = Quantiles.of(sorted, Double(tenth) / Double(binCount))
        if baseline.quantileEdges.last.map({ edge > $0 }) ?? true { baseline.quantileEdges.append(edge) }
      }
      baseline.binCounts = counts(sorted, edges: baseline.quantileEdges)
    case .categories(let codes, let categories):
      var counts = [Int](repeating: 0, count: categories.count)
      for row in rows where codes[row] >= 0 { counts[Int(codes[row])] += 1 }
      let order = categories.indices.filter { counts[$0] > 0 }.sorted { (counts[$0], $1) > (counts[$1], $0) }
      baseline.categories = order.prefix(categoriesMax).map { (category: categories[$0], count: counts[$0]) }
    }
    return baseline
  }

  /// Counts per bin. A bin includes its lower edge; the last one includes both.
  private static func counts(_ sorted: [Double], edges: [Double]) -> [Int] {
    guard edges.count > 1 else { return [] }
    var counts = [Int](repeating: 0, count: edges.count - 1)
    var bin = 0
    for value in sorted {
      while bin < counts.count - 1, value >= edges[bin + 1] { bin += 1 }
      counts[bin] += 1
    }
    return counts
  }
}
