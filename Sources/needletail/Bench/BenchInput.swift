internal import NeedletailClient
internal import NeedletailCore
internal import NeedletailLoad

/// The calls of a bench, made from the rows of a file or from random numbers, with their expected answers.
struct BenchInput {
  private let command: BenchCommand

  /// Distinct calls of one model with random rows, their bytes, and the bytes of calls from a file.
  private static let randomCallsMax = 256
  private static let randomBytesMax = 16 << 20
  private static let bytesMax = 512 << 20

  init(_ command: BenchCommand) { self.command = command }

  func plan(client: NeedletailClient, address: ServerAddress) async throws -> LoadPlan {
    let input = try command.input.map(FeatureTable.init(path:))
    let table = input.map { $0.atLeast(rows: command.batch) }
    var frames = RequestFrames()
    var checks: [AnswerCheck?] = []
    for (index, model) in command.models.enumerated() {
      let description = try await client.describeModel(model.reference.model, selector: model.reference.selector)
      if let table {
        try append(table, of: description, at: index, to: &frames)
      } else {
        try appendRandom(description, at: index, to: &frames)
      }
      let expected = try command.expect.map {
        try ExpectedAnswers(argument: $0, rows: table?.rows.count ?? 0, period: input?.rows.count ?? 0)
      }
      checks.append(expected.isEmpty ? nil : AnswerCheck(expected))
    }
    let target: LoadTarget =
      switch address {
      case .tcp(let host, let port): .tcp(host: host, port: port)
      case .unix(let path): .unix(path: path)
      }
    return command.plan(target: target, frames: frames, checks: checks)
  }

  private func append(
    _ table: FeatureTable, of model: ModelDescription, at index: Int, to frames: inout RequestFrames
  ) throws {
    for start in stride(from: 0, to: table.rows.count, by: command.batch) {
      guard frames.bytes.count < Self.bytesMax else {
        notice("\(table.source): only the first \(start) of \(table.rows.count) rows are sent, to fit memory")
        return
      }
      let range = start..<min(start + command.batch, table.rows.count)
      let columns = try table.tensors(for: model, rows: range)
      try append(dense(columns, rows: range.count).map { [$0] } ?? columns, range, index, &frames)
    }
  }

  private func appendRandom(_ model: ModelDescription, at index: Int, to frames: inout RequestFrames) throws {
    var random = SplitMix64(seed: UInt64(index) + 1)
    let rowBytes = max(1, model.inputs.count) * 4
    let calls = min(Self.randomCallsMax, max(1, Self.randomBytesMax / (rowBytes * command.batch)))
    for call in 0..<calls {
      // A category is sent as its code, any other feature as a number around 0.
      let values = (0..<command.batch).flatMap { _ in
        model.inputs.map { input -> Float in
          input.type == .string && !input.categories.isEmpty
            ? Float(Int(random.unit() * Double(input.categories.count))) : Float(random.unit() * 4 - 2)
        }
      }
      let first = call * command.batch
      try append(
        [.features(values, columns: model.inputs.count)], first..<(first + command.batch), index, &frames)
    }
  }

  private func append(
    _ inputs: [InputTensor], _ rows: Range<Int>, _ index: Int, _ frames: inout RequestFrames
  ) throws {
    let reference = command.models[index].reference
    let microseconds = command.server.timeout.duration.wholeNanoseconds / 1000
    do {
      try frames.append(
        RequestEncoder.Predict(
          model: reference.model, selector: reference.selector, inputs: inputs, priority: command.priority.priority),
        rows: rows.count, model: index, firstRow: rows.lowerBound,
        timeoutMicroseconds: UInt32(clamping: microseconds))
    } catch {
      throw Failure("--batch: a request of \(error.bytes) bytes exceeds a frame's \(error.limit)")
    }
  }

  /// Columns of numbers as one matrix, which takes fewer bytes; nil if a column is text.
  private func dense(_ columns: [InputTensor], rows: Int) -> InputTensor? {
    guard columns.allSatisfy({ $0.type == .float64 && $0.data.count == rows * 8 }) else { return nil }
    var values = [Float](repeating: 0, count: rows * columns.count)
    for (position, column) in columns.enumerated() {
      column.data.withUnsafeBytes { data in
        for row in 0..<rows {
          values[row * columns.count + position] = Float(
            data.loadUnaligned(fromByteOffset: row * 8, as: Double.self))
        }
      }
    }
    return .features(values, columns: columns.count)
  }
}

extension FeatureTable {
  /// The rows repeated until there are `count`.
  fileprivate func atLeast(rows count: Int) -> FeatureTable {
    guard rows.count < count else { return self }
    var longer = self
    longer.rows = (0..<count).map { rows[$0 % rows.count] }
    let (name, period) = (rowName, rows.count)
    longer.rowName = { name($0 % period) }
    return longer
  }
}

extension ExpectedAnswers {
  /// Reads `[VERSION=]FILE.csv` with columns `class`, `label` and `p_0 …`, or `prediction`; others are
  /// ignored.
  /// - Parameters:
  ///   - rows: number of rows that are sent.
  ///   - period: number of rows in the input's file, after which they repeat.
  init(argument: String, rows: Int, period: Int) throws {
    var path = argument
    var version: UInt64?
    if let equals = argument.firstIndex(of: "="), let number = UInt64(argument[..<equals]) {
      version = number
      path = String(argument[argument.index(after: equals)...])
    }
    let table = try FeatureTable(path: path)
    guard table.rows.count == period else {
      throw Failure(
        "--expect \(path): expected a line for each of the \(period) rows of --input, found \(table.rows.count)")
    }
    func cells(_ column: Int) -> [String] { (0..<rows).map { table.rows[$0 % period][column] } }
    let known = table.columns.enumerated().filter {
      $0.element == "prediction" || ($0.element.hasPrefix("p_") && Int($0.element.dropFirst(2)) != nil)
    }.map(\.offset)
    let columns = try known.map { try Self.numbers(cells($0), Float.init, path, table.columns[$0]) }
    let classes = try table.columns.firstIndex(of: "class").map {
      try Self.numbers(cells($0), { Int64($0) }, path, "class")
    }
    let labels = table.columns.firstIndex(of: "label").map(cells)
    guard !columns.isEmpty || classes != nil || labels != nil else {
      throw Failure("--expect \(path): expected a column class, label, p_0 or prediction, found none")
    }
    self.init(
      version: version, rows: rows, numbers: (0..<rows).flatMap { row in columns.map { $0[row] } },
      classes: classes ?? [], labels: labels ?? [])
  }

  private static func numbers<Number>(
    _ cells: [String], _ parse: (String) -> Number?, _ path: String, _ column: String
  ) throws -> [Number] {
    try cells.enumerated().map { row, cell in
      guard let number = parse(cell) else {
        throw Failure("--expect \(path): row \(row + 1), \(column): expected a number, found \(cell.quotedForMessage)")
      }
      return number
    }
  }
}
