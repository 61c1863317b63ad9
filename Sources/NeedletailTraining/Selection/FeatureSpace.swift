internal import Foundation
internal import NeedletailCore
internal import NeedletailEngine

/// Points that stand for raw rows, so that rows which a model treats alike are near each other.
///
/// For a model that multiplies a preprocessed row by weights, that row is the point. One that compares columns with
/// thresholds, such as trees, has no scale of its own: numbers are standardised by the rows at hand, and a category is a
/// corner that is as far from every other as a number moves in one standard deviation. More than 256 columns are
/// projected onto 256 by random signs, which keeps distances within a few per cent (Johnson and Lindenstrauss, 1984;
/// Achlioptas, 2003).
struct FeatureSpace {
  /// Columns of a point.
  let columns: Int
  private let wide: Int
  private let kind: Kind

  private enum Kind {
    /// The row that reaches the first layer.
    case preprocessed(RowRunner)
    case raw([Column])
  }

  /// Place of a feature among the columns of a raw point.
  private enum Column {
    /// A number, and whether it is missing, in two columns.
    case number(at: Int, mean: Double, deviation: Double, date: DateOrder?)
    /// A category, in as many columns as there are, and one for all others.
    case category(at: Int, [String: Int])
  }

  static let columnsMax = 256
  /// Rows asked at a time: a wide row takes 16 KiB.
  private static let chunk = 4096

  /// - Parameter rows: those that numbers are standardised by.
  init(_ definition: ModelDefinition, _ rows: [[Cell]]) throws(TrainingError) {
    guard definition.graph.textInput == nil else {
      throw TrainingError(
        .data,
        "expected a model of numbers, categories and dates, among whose rows distances are known, found one of text")
    }
    if let graph = definition.graph.preprocessing {
      let model = ModelDefinition(schema: definition.schema, graph: graph, labels: [])
      do throws(PlanError) { kind = .preprocessed(RowRunner(try CompiledModel(model))) } catch {
        throw TrainingError(error)
      }
      wide = graph.values[graph.outputs[0].value].columns
    } else {
      var columns: [Column] = []
      var place = 0
      for (index, feature) in definition.schema.features.enumerated() {
        if case .categorical(let categories, _) = feature.kind {
          let codes = Dictionary(categories.enumerated().map { ($1, $0) }, uniquingKeysWith: { first, _ in first })
          columns.append(.category(at: place, codes))
          place += categories.count + 1
        } else {
          let date: DateOrder? = if case .datetime(let order) = feature.kind { order } else { nil }
          let numbers = rows.compactMap { Self.number($0[index], date) }
          let mean = numbers.reduce(0, +) / Double(max(numbers.count, 1))
          let spread = numbers.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(max(numbers.count, 1))
          columns.append(.number(at: place, mean: mean, deviation: spread.squareRoot(), date: date))
          place += 2
        }
      }
      wide = place
      kind = .raw(columns)
    }
    columns = min(wide, Self.columnsMax)
  }

  private static func number(_ cell: Cell, _ date: DateOrder?) -> Double? {
    switch cell {
    case .number(let number): number.isFinite ? number : nil
    case .text(let text): date.flatMap { DateText.parse(text, order: $0) }
    case .missing: nil
    }
  }

  /// - Returns: rows × ``columns``.
  func points(_ rows: [[Cell]]) throws(TrainingError) -> [Float] {
    var points = [Float](repeating: 0, count: rows.count * columns)
    switch kind {
    case .preprocessed(let runner):
      for start in stride(from: 0, to: rows.count, by: Self.chunk) {
        let count = min(Self.chunk, rows.count - start)
        let values = try runner.run(count: count) { rows[start + $0] }[0]
        for row in 0..<count {
          for column in 0..<wide where values[row * wide + column].isFinite {
            add(values[row * wide + column], column, of: start + row, to: &points)
          }
        }
      }
    case .raw(let features):
      for (row, cells) in rows.enumerated() {
        for (feature, cell) in zip(features, cells) {
          switch feature {
          case .number(let place, let mean, let deviation, let date):
            guard let number = Self.number(cell, date) else {
              add(1, place + 1, of: row, to: &points)
              continue
            }
            if deviation > 0 { add(Float((number - mean) / deviation), place, of: row, to: &points) }
          case .category(let place, let codes):
            guard case .text(let text) = cell else { continue }
            // Two corners at 1/√2 are 1 apart.
            add(Float(0.5.squareRoot()), place + (codes[text] ?? codes.count), of: row, to: &points)
          }
        }
      }
    }
    return points
  }

  private func add(_ value: Float, _ column: Int, of row: Int, to points: inout [Float]) {
    guard value != 0 else { return }
    guard wide > Self.columnsMax else {
      points[row * columns + column] += value
      return
    }
    let part = value / Float(columns).squareRoot()
    var signs = SplitMix64(seed: UInt64(column))
    for place in stride(from: 0, to: columns, by: 64) {
      var bits = signs.next()
      for column in place..<min(place + 64, columns) {
        points[row * columns + column] += bits & 1 == 0 ? part : -part
        bits >>= 1
      }
    }
  }
}

extension ModelGraph {
  /// The part that computes what the first layer of weights reads; nil for a graph without one, or whose first layer
  /// reads the raw row.
  fileprivate var preprocessing: ModelGraph? {
    guard let layer = nodes.first(where: { $0.operation is Dense || $0.operation is TreeEnsemble }),
      layer.operation is Dense, let wanted = layer.inputs.first, wanted != 0,
      values[wanted].type.element == .float32
    else { return nil }
    var needed: Set<Int> = [wanted]
    var kept: [Node] = []
    for node in nodes.reversed() where node.outputs.contains(where: needed.contains) {
      needed.formUnion(node.inputs)
      needed.formUnion(node.outputs)
      kept.insert(node, at: 0)
    }
    needed.insert(0)
    let order = needed.sorted()
    let places = Dictionary(order.enumerated().map { ($1, $0) }, uniquingKeysWith: { first, _ in first })
    func renumbered(_ indices: [Int]) -> [Int] { indices.map { places[$0] ?? 0 } }
    return ModelGraph(
      task: .regression, values: order.map { values[$0] },
      nodes: kept.map { node in
        Node(
          name: node.name, inputs: renumbered(node.inputs), outputs: renumbered(node.outputs), operation: node.operation
        )
      },
      outputs: [.init(name: "features", value: places[wanted] ?? 0, kind: .number)], tensors: tensors)
  }
}

/// Chooses points that cover all others (k-centre, greedily: Gonzalez, 1985; for labels: Sener and Savarese, 2018).
struct Coverage {
  private let points: [Float]
  private let columns: Int
  private let count: Int

  init(_ points: [Float], columns: Int) {
    self.points = points
    self.columns = columns
    count = columns > 0 ? points.count / columns : 0
  }

  /// - Parameters:
  ///   - known: points that are covered from the beginning.
  ///   - weights: importance of each point; empty: all alike.
  /// - Returns: points in the order in which they were chosen, each with its distance to the nearest one before it, nil
  ///   for the very first.
  func greedy(count wanted: Int, known: [Float], weights: [Double]) -> [(row: Int, distance: Double?)] {
    var nearest = [Float](repeating: .infinity, count: count)
    var isFree = [Bool](repeating: true, count: count)
    for start in stride(from: 0, to: known.count, by: max(columns, 1)) {
      cover(from: Array(known[start..<(start + columns)]), &nearest)
    }
    var chosen: [(row: Int, distance: Double?)] = []
    while chosen.count < min(wanted, count) {
      var best = 0
      if chosen.isEmpty, known.isEmpty {
        best = weights.isEmpty ? middle : weights.indices.max { (weights[$0], $1) < (weights[$1], $0) } ?? 0
      } else {
        var largest = -Double.infinity
        for row in 0..<count where isFree[row] {
          let value = Double(nearest[row]).squareRoot() * (weights.isEmpty ? 1 : weights[row])
          if value > largest { (best, largest) = (row, value) }
        }
      }
      isFree[best] = false
      chosen.append((best, nearest[best].isFinite ? Double(nearest[best]).squareRoot() : nil))
      cover(from: Array(points[(best * columns)..<((best + 1) * columns)]), &nearest)
    }
    return chosen
  }

  /// The point nearest to the mean.
  private var middle: Int {
    var mean = [Double](repeating: 0, count: columns)
    for row in 0..<count {
      for column in 0..<columns { mean[column] += Double(points[row * columns + column]) / Double(count) }
    }
    var distances = [Float](repeating: .infinity, count: count)
    cover(from: mean.map { Float($0) }, &distances)
    return distances.indices.min { (distances[$0], $0) < (distances[$1], $1) } ?? 0
  }

  /// Lowers the squared distances to the nearest chosen point.
  private func cover(from centre: [Float], _ nearest: inout [Float]) {
    points.withUnsafeBufferPointer { points in
      centre.withUnsafeBufferPointer { centre in
        for row in 0..<count {
          var sum: Float = 0
          for column in 0..<columns {
            let difference = points[row * columns + column] - centre[column]
            sum += difference * difference
          }
          if sum < nearest[row] { nearest[row] = sum }
        }
      }
    }
  }
}
