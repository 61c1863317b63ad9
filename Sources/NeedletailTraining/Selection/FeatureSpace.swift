internal import Foundation
internal import NeedletailCore
internal import NeedletailEngine

/// Points that stand for raw rows, so that rows which a model treats alike are near each other.
///
/// For a model that multiplies a preprocessed row by weights, that row is the point. One that compares columns with
/// thresholds, such as trees, has no scale of its own: numbers are standardised by the rows at hand, and a category is a
/// corner that is as far from every other as a number moves in one standard deviation. Terms of texts are columns as the
/// model weighs them, so that two texts are at most √2 apart. More than 256 columns are
/// projected onto 256 by random signs, which keeps distances within a few per cent (Johnson and Lindenstrauss, 1984;
/// Achlioptas, 2003).
struct FeatureSpace {
  /// Columns of a point.
  let columns: Int
  private let wide: Int
  private let kind: Kind
  private let texts: [Text]

  /// A text of the row, whose terms stand behind its other columns.
  private struct Text {
    var feature: Int
    var encoder: TermEncoder
    var first: Int
  }

  private enum Kind {
    /// The row that reaches the first layer, and its columns.
    case preprocessed(RowRunner, Int)
    case raw([Column])
  }

  /// Place of a feature among the columns of a raw point.
  private enum Column {
    /// A number, and whether it is missing, in two columns.
    case number(at: Int, mean: Double, deviation: Double, date: DateOrder?)
    /// A category, in as many columns as there are, and one for all others.
    case category(at: Int, [String: Int])
    /// A text, whose terms are no columns of the row.
    case text
  }

  static let columnsMax = 256
  /// Rows asked at a time: a wide row takes 16 KiB.
  private static let chunk = 4096

  /// - Parameter rows: those that numbers are standardised by.
  init(_ definition: ModelDefinition, _ rows: [[Cell]]) throws(TrainingError) {
    let rowColumns: Int
    if let graph = definition.graph.preprocessing {
      let model = ModelDefinition(schema: definition.schema, graph: graph, labels: [])
      rowColumns = graph.values[graph.outputs[0].value].columns
      do throws(PlanError) { kind = .preprocessed(RowRunner(try CompiledModel(model)), rowColumns) } catch {
        throw TrainingError(error)
      }
    } else {
      var columns: [Column] = []
      var place = 0
      for (index, feature) in definition.schema.features.enumerated() {
        if feature.kind == .text {
          columns.append(.text)
        } else if case .categorical(let categories, _) = feature.kind {
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
      rowColumns = place
      kind = .raw(columns)
    }
    (texts, wide) = try Self.texts(definition, behind: rowColumns)
    columns = min(wide, Self.columnsMax)
  }

  /// What finds the terms of each text, and the number of all columns.
  private static func texts(
    _ definition: ModelDefinition, behind rowColumns: Int
  ) throws(TrainingError) -> (texts: [Text], columns: Int) {
    let features = definition.schema.features.indices.filter { definition.schema.features[$0].kind == .text }
    var texts: [Text] = []
    var place = rowColumns
    for case let terms as TextTerms in definition.graph.nodes.map(\.operation) {
      do throws(PlanError) {
        let encoder = try TermEncoder(terms, textBytesMax: Limits.textBytesMaxDefault)
        texts.append(Text(feature: features[terms.text], encoder: encoder, first: place))
      } catch {
        throw TrainingError(error)
      }
      place += terms.columnCount
    }
    guard !texts.isEmpty || features.isEmpty else {
      throw TrainingError(
        .data, "expected a model of terms of texts, among whose rows distances are known, found one of tokens")
    }
    return (texts, place)
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
    case .preprocessed(let runner, let width):
      for start in stride(from: 0, to: rows.count, by: Self.chunk) {
        let count = min(Self.chunk, rows.count - start)
        let values = try runner.run(count: count) { rows[start + $0] }[0]
        for row in 0..<count {
          for column in 0..<width where values[row * width + column].isFinite {
            add(values[row * width + column], column, of: start + row, to: &points)
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
          case .text: continue
          }
        }
      }
    }
    for text in texts {
      for (row, cells) in rows.enumerated() {
        guard case .text(var own) = cells[text.feature] else { continue }
        guard own.utf8.count <= Limits.textBytesMaxDefault else {
          throw TrainingError(
            .data, "expected texts of at most \(Limits.textBytesMaxDefault) bytes, found one of \(own.utf8.count)")
        }
        own.withUTF8 { bytes in
          let terms = text.encoder.terms(of: bytes)
          for (column, weight) in zip(terms.columns, terms.weights) {
            add(weight, text.first + Int(column), of: row, to: &points)
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
    let terms = Set(nodes.filter { $0.operation is TextTerms }.flatMap(\.outputs))
    guard
      let layer = nodes.first(where: { node in
        (node.operation is Dense && !node.inputs.contains(where: terms.contains)) || node.operation is TreeEnsemble
      }), layer.operation is Dense, let wanted = layer.inputs.first, wanted != 0,
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
    if let textInput { needed.insert(textInput) }
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
      outputs: [.init(name: "features", value: places[wanted] ?? 0, kind: .number)], tensors: tensors,
      textInput: textInput.flatMap { places[$0] })
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
