import NeedletailCore
import NeedletailEngine
import NeedletailTestSupport

@testable import NeedletailTraining

extension TemporaryDirectory {
  @discardableResult
  func write(_ text: String, to name: String) throws -> String {
    try write(Array(text.utf8), to: name)
  }

  /// Writes `data.csv` and reads it with its last column as the target.
  func dataset(
    _ csv: String, target: String, types: [(column: String, type: TableRequest.ColumnType)] = [],
    use: TableRequest.TargetUse = .automatic, dropsDuplicates: Bool = false
  ) throws -> Dataset {
    let path = try write(csv, to: "data.csv")
    return try TableReader(
      TableRequest(
        files: [("data.csv", path)], target: target, types: types, targetUse: use,
        dropsDuplicates: dropsDuplicates)
    ).read()
  }
}

enum Synthetic {
  /// Two classes of points around (−2, 0) and (2, 0), with a colour that tells nothing and some gaps in y.
  static func classesCSV(rows: Int, seed: UInt64) -> String {
    var random = RandomSource(seed: seed)
    var csv = "x,y,colour,kind\n"
    for row in 0..<rows {
      let isSecond = row % 2 == 1
      let x = random.normal() * 0.5 + (isSecond ? 2 : -2)
      let y = row % 10 == 9 ? "" : "\(random.normal())"
      csv += "\(x),\(y),\(["red", "green", "blue"][random.index(below: 3)]),\(isSecond ? "right" : "left")\n"
    }
    return csv
  }

  static let classesRun = """
    data: { files: [data.csv] }
    features:
      unknown: zeros
      columns:
        y: { missing: mean }
    target: { column: kind }
    model:
      family: mlp
      hidden: [16]
    training: { epochs: 20, learning_rate: 0.01, batch_size: 16 }
    publish: { model: kinds }
    """

  /// Standard normal columns.
  static func inputs(rows: Int, columns: Int, seed: UInt64) -> Matrix {
    var random = RandomSource(seed: seed)
    return Matrix(
      rows: rows, columns: columns, elements: (0..<(rows * columns)).map { _ in Float(random.normal()) })
  }
}

extension FitContext where Input: TestInput {
  /// The family's defaults with some settings of one's own.
  init(
    _ family: some ModelFamily<Input>, task: ModelGraph.Task, classCount: Int = 0, train: Samples<Input>,
    validation: Samples<Input>? = nil, model: [String: Document] = [:], training: [String: Document] = [:],
    seed: UInt64 = 1,
    progress: @escaping (EpochReport) -> Void = { _ in }
  ) {
    func merged(_ settings: [Setting], _ own: [String: Document]) -> Document {
      .section(settings.map { .init($0.key, own[$0.key] ?? $0.fallback) })
    }
    self.init(
      task: task, classCount: classCount, train: train,
      validation: validation ?? Samples(inputs: .empty(columns: train.inputs.columns), targets: []),
      model: merged(family.modelSettings, model), training: merged(family.trainingSettings, training), seed: seed,
      progress: progress)
  }
}

/// A form of rows that tests make by hand.
protocol TestInput: TrainingInput {
  var columns: Int { get }
  static func empty(columns: Int) -> Self
}

extension Matrix: TestInput {
  static func empty(columns: Int) -> Matrix { Matrix(rows: 0, columns: columns) }
}

extension IndicatorRows: TestInput {
  static func empty(columns: Int) -> IndicatorRows { IndicatorRows(Matrix(rows: 0, columns: columns)) }
}

extension CodedRows: TestInput {
  static func empty(columns: Int) -> CodedRows { CodedRows(Matrix(rows: 0, columns: columns)) }
}
