import NeedletailCore
import NeedletailEngine
import Testing

@testable import NeedletailTraining

/// Columns, targets and settings of a fit, without files.
struct TreeFit {
  var columns: [Table.Column]
  var targets: [Double]
  var classCount = 0
  /// One a row, or none.
  var weights: [Float] = []
  var groups: [Int] = []
  var model: [String: Document] = [:]
  var training: [String: Document] = [:]
  /// Rows that only steer: the last ones.
  var validationCount = 0
  var seed: UInt64 = 1
  var progress: (EpochReport) -> Void = { _ in }
  /// True: a random forest learns.
  var isForest = false

  /// One tree with exact leaves, which hand-made expectations are for.
  static let oneTree: ([String: Document], [String: Document]) = (
    ["trees": .integer(1), "bin_rows_min": .integer(1)],
    ["learning_rate": .number(1), "l2": .number(0), "rows_min": .integer(1), "patience": .integer(0)]
  )

  func inputs(_ rows: [Int]) throws -> FeatureColumns {
    let table = Table(columns: columns, rowNumbers: targets.indices.map { $0 + 1 })
    let run = try RunConfiguration(
      yaml: "data: { files: a.csv }\nfeatures: { unknown: zeros }\ntarget: { column: y }\nmodel: { family: gbdt }\n",
      file: "run.yaml", directory: "/")
    let train = Array(0..<(targets.count - validationCount))
    let preprocessing = try Preprocessing(features: table, rows: train, target: "y", configuration: run)
    return try FeatureColumns(preprocessing, table, rows: rows)
  }

  func run() throws -> FittedTrees {
    func merged(_ settings: [Setting], _ own: [String: Document]) -> Document {
      .section(settings.map { .init($0.key, own[$0.key] ?? $0.fallback) })
    }
    let family: any ModelFamily = isForest ? RandomForest() : GBDT()
    let split = targets.count - validationCount
    let context = FitContext(
      task: classCount == 0 ? .regression : .classification, classCount: classCount,
      train: Samples(
        inputs: try inputs(Array(0..<split)), targets: Array(targets[..<split]), weights: Array(weights.prefix(split)),
        groups: Array(groups.prefix(split))),
      validation: Samples(
        inputs: try inputs(Array(split..<targets.count)), targets: Array(targets[split...]),
        weights: Array(weights.dropFirst(split)), groups: Array(groups.dropFirst(split))),
      model: merged(family.modelSettings, model), training: merged(family.trainingSettings, training), seed: seed,
      progress: progress)
    let fitted = isForest ? try RandomForest().fit(context) : try GBDT().fit(context)
    return try #require(fitted as? FittedTrees)
  }
}

extension TreeModel.Tree {
  /// The leaf in which a row of numbers and codes ends, and the number of splits above it, by a plain walk.
  func leaf(of row: [Double]) -> (node: Int, depth: Int) {
    var (place, depth) = (root, 0)
    while case .split(let split) = nodes[place] {
      let x = row[split.column]
      var goesLeft = split.missing == .left
      if !x.isNaN {
        switch split.test {
        case .threshold(let threshold): goesLeft = x <= threshold
        case .categories(let codes): goesLeft = codes.contains(Int(x))
        }
      }
      place = goesLeft ? split.left : split.right
      depth += 1
    }
    return (place, depth)
  }
}

/// Sums of trees for one row of numbers and codes.
func treeSums(_ model: TreeModel, _ row: [Double]) -> [Double] {
  var sums = [Double](repeating: 0, count: model.outputs)
  for tree in model.trees {
    guard case .leaf(let values) = tree.nodes[tree.leaf(of: row).node] else { continue }
    for (place, value) in values.enumerated() { sums[tree.output + place] += value }
  }
  return sums.enumerated().map { $1 / model.divisor + (model.bias.isEmpty ? 0 : model.bias[$0]) }
}
