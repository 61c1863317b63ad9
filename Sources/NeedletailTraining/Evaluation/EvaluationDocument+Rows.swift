internal import NeedletailCore
internal import NeedletailEngine

/// Parts of the rows, the worst of them, and the model's answers for changed ones.
extension EvaluationDocument {
  /// Figures of the rows of each value of a column, or each quarter of its numbers.
  func subgroup(_ column: (column: String, values: [Cell])) -> Document {
    let groups = Self.groups(column.values)
    return .section([
      .init("column", .text(column.column)),
      .init(
        "groups",
        .list(
          groups.map { name, rows in
            var entries: [Document.Entry] = [
              .init("group", .text(name)), .init("rows", .integer(rows.count)),
              .init("figures", Self.figures(judged.figures(of: rows))),
            ]
            if !judged.evaluation.weighted.isEmpty {
              let weights = judged.weights
              entries += [
                .init("weight", .number(rows.reduce(0) { $0 + weights[$1] })),
                .init("figures_weighted", Self.figures(judged.figures(of: rows, weights: rows.map { weights[$0] }))),
              ]
            }
            return .section(entries)
          })),
    ])
  }

  /// Rows by category, the most frequent ones by name, or by quarters of the numbers; missing ones are a group.
  static func groups(_ values: [Cell]) -> [(name: String, rows: [Int])] {
    var missing: [Int] = []
    var categories: [String: [Int]] = [:]
    var numbers: [(value: Double, row: Int)] = []
    for (row, cell) in values.enumerated() {
      switch cell {
      case .missing: missing.append(row)
      case .text(let text): categories[text, default: []].append(row)
      case .number(let number): numbers.append((number, row))
      }
    }
    var groups: [(name: String, rows: [Int])] = []
    let order = categories.sorted { ($0.value.count, $1.key) > ($1.value.count, $0.key) }
    let shown = order.count <= groupsMax ? order.count : groupsMax - 1
    for (name, rows) in order.prefix(shown) { groups.append((name, rows)) }
    if order.count > shown {
      groups.append(("\(order.count - shown) others", order[shown...].flatMap(\.value).sorted()))
    }
    let sorted = numbers.map(\.value).sorted()
    let distinct = Set(sorted)
    if distinct.count <= 5 {
      for value in distinct.sorted() {
        groups.append((Figures.short(value), numbers.filter { $0.value == value }.map(\.row)))
      }
    } else {
      let edges = [0.25, 0.5, 0.75].map { Quantiles.of(sorted, $0) }
      for quarter in 0..<4 {
        let low = quarter == 0 ? -Double.infinity : edges[quarter - 1]
        let high = quarter == 3 ? Double.infinity : edges[quarter]
        let rows = numbers.filter { $0.value > low && $0.value <= high }.map(\.row)
        guard !rows.isEmpty else { continue }
        let name =
          quarter == 0
          ? "≤ \(Figures.short(high))"
          : quarter == 3 ? "> \(Figures.short(low))" : "\(Figures.short(low)) – \(Figures.short(high))"
        groups.append((name, rows))
      }
    }
    if !missing.isEmpty { groups.append(("missing", missing)) }
    return groups
  }

  /// Rows whose truth the model thought least likely, or missed by most.
  func worst() -> Document {
    let width = judged.labels.count
    let numbers = judged.evaluation.numbers
    func miss(_ row: Int) -> Double {
      guard judged.isClassification else { return abs(Double(numbers[row]) - judged.targets[row]) }
      let target = Int(judged.targets[row])
      if !judged.evaluation.areProbabilities { return judged.evaluation.classes[row] == target ? 0 : 1 }
      return 1 - Double(numbers[row * width + target])
    }
    let misses = judged.targets.indices.map(miss)
    let order = misses.indices.sorted { (misses[$0], $1) > (misses[$1], $0) }.prefix(Self.worstRows)
    let shown = featureOrder.prefix(Self.worstFeatures)
    return .list(
      order.filter { misses[$0] > 0 }.map { row in
        var entries: [Document.Entry] = [.init("row", .integer(judged.rowNumbers[row]))]
        if judged.isClassification {
          let found = judged.evaluation.classes[row]
          let target = Int(judged.targets[row])
          entries += [
            .init("truth", .text(judged.labels[target])), .init("predicted", .text(judged.labels[found])),
          ]
          if judged.evaluation.areProbabilities {
            entries.append(.init("probability_of_truth", .number(Double(numbers[row * width + target]))))
          }
        } else {
          entries += [
            .init("truth", .number(judged.targets[row])), .init("predicted", .number(Double(numbers[row]))),
          ]
        }
        let cells = shown.map { Document.Entry(judged.features[$0].name, Self.document(judged.rows[row][$0])) }
        return .section(entries + [.init("features", .section(cells))])
      })
  }

  static func document(_ cell: Cell) -> Document {
    switch cell {
    case .number(let number): .number(number)
    case .text(let text): .text(text)
    case .missing: .null
    }
  }

  /// Features by importance where that is known, else in schema order.
  private var featureOrder: [Int] {
    guard importance.count == judged.features.count else { return Array(judged.features.indices) }
    func weight(_ index: Int) -> Double {
      importance[index].permutation?.mean ?? importance[index].meanContribution ?? importance[index].gainShare
    }
    return importance.indices.sorted { (weight($0), $1) > (weight($1), $0) }
  }

  func dependence(_ probe: ModelProbe) throws(TrainingError) -> Document {
    var found: [Document] = []
    for feature in featureOrder.prefix(Self.dependenceFeatures) {
      guard let part = try probe.dependence(on: feature) else { continue }
      found.append(
        .section([
          .init("feature", .text(part.feature)), .init("grid", .list(part.grid.map(Self.document))),
          .init(
            "series",
            .list(
              part.series.map { series in
                .section([
                  .init("name", .text(series.name)), .init("values", .list(series.values.map { .number($0) })),
                ])
              })),
          .init("deciles", .list(part.deciles.map { .number($0) })),
        ]))
    }
    return .list(found)
  }
}

extension JudgedRows {
  /// Figures of some of the rows.
  ///
  /// - Parameter weights: one for each chosen row; none: they count alike.
  /// - Returns: nothing without rows, or where all weights are 0.
  func figures(of chosen: [Int], weights: [Double] = []) -> [Metrics.Figure] {
    let total = weights.isEmpty ? Double(chosen.count) : weights.reduce(0, +)
    guard total > 0 else { return [] }
    let width = max(labels.count, 1)
    let numbers = chosen.flatMap { evaluation.numbers[$0 * width..<($0 + 1) * width] }
    func mean(_ value: (Int) -> Double) -> Double {
      chosen.indices.reduce(0) { $0 + (weights.isEmpty ? 1 : weights[$1]) * value(chosen[$1]) } / total
    }
    guard isClassification else {
      let bias = mean { Double(evaluation.numbers[$0]) - targets[$0] }
      return Metrics.regression(predicted: numbers, truth: chosen.map { targets[$0] }, weights: weights)
        + [("bias", bias)]
    }
    var figures = Metrics.classification(
      probabilities: evaluation.areProbabilities ? numbers : nil, predicted: chosen.map { evaluation.classes[$0] },
      truth: chosen.map { Int(targets[$0]) }, classCount: labels.count, weights: weights)
    if labels.count == 2 {
      // Shares of rows given the second class, and of those that are of it.
      figures.append(("predicted_rate", mean { evaluation.classes[$0] == 1 ? 1 : 0 }))
      figures.append(("true_rate", mean { targets[$0] == 1 ? 1 : 0 }))
    }
    return figures
  }
}
