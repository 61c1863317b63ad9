internal import NeedletailBundle
internal import NeedletailCore
internal import NeedletailEngine

/// Output of `bundle inspect --plan`: the compiled plan, and where its time goes on this machine.
struct PlanDescription: Encodable {
  struct Bytes: Encodable {
    let offset, count: Int
  }

  struct Step: Encodable {
    let node, operation, kernel: String
    let inputColumns, outputColumns, weightBytes, multiplyAddsPerRow: Int
    let input, output: Bytes
    let sharedFromRows: Int?
    /// One for each of `batches`.
    let microseconds, share: [Double]
    /// Part of what this CPU could do, per batch; of matrix products only.
    let ofLimit: [Double]?
    /// `arithmetic` or `memory`, per batch.
    let limitedBy: [String]?
  }

  struct Batch: Encodable {
    let rows: Int
    let microseconds: Double
  }

  struct Limits: Encodable {
    let int8MultiplyAddsPerSecond, float32MultiplyAddsPerSecond, bytesPerSecond: Double
  }

  let model: String
  let version: UInt64
  let isa, precision, choice: String
  let threads, rowsMax, residentBytes, arenaBytes: Int
  let limits: Limits
  let batches: [Batch]
  let steps: [Step]
}

extension PlanDescription {
  /// Batch sizes measured: a request alone, a few together, a batch.
  static let batchRows = [1, 8, 32]

  /// Compiles and measures; takes about half a second.
  init(_ bundle: VerifiedBundle, _ definition: ModelDefinition) throws(PlanError) {
    var options = PlanOptions()
    options.rowsMax = Self.batchRows.max() ?? 1
    let choice = try PlanChoice.make(for: definition.graph, policy: .stored)
    let plan = try CompiledModel(definition, options: options, choice: choice).plan
    let roofline = try Roofline.measure(
      weightBytes: plan.steps.reduce(0) { $0 + $1.weightBytes }, isa: plan.isa)
    let profiles = try Self.batchRows.map { rows throws(PlanError) in
      try plan.profile(rows: rows, within: .milliseconds(100))
    }
    model = bundle.manifest.model.name
    version = bundle.manifest.version.number
    isa = plan.isa.rawValue
    precision = plan.precision
    self.choice = choice.description
    threads = EnginePool.threads
    rowsMax = plan.rowsMax
    residentBytes = plan.residentBytes
    arenaBytes = plan.workspaceBytes
    limits = Limits(
      int8MultiplyAddsPerSecond: roofline.int8PerSecond, float32MultiplyAddsPerSecond: roofline.float32PerSecond,
      bytesPerSecond: roofline.bytesPerSecond)
    batches = profiles.map { Batch(rows: $0.rows, microseconds: $0.microseconds) }
    steps = plan.steps.enumerated().map { Step($1, at: $0, profiles, roofline) }
  }
}

extension PlanDescription.Step {
  init(_ step: PlanStep, at index: Int, _ profiles: [PlanProfile], _ roofline: Roofline) {
    node = step.node
    operation = step.operation
    kernel = step.kernel
    inputColumns = step.inputColumns
    outputColumns = step.outputColumns
    weightBytes = step.weightBytes
    multiplyAddsPerRow = step.multiplyAddsPerItem
    input = .init(offset: step.input.lowerBound, count: step.input.count)
    output = .init(offset: step.output.lowerBound, count: step.output.count)
    sharedFromRows = step.sharedFromRows
    let times = profiles.map { $0.stepMicroseconds[index] }
    microseconds = times
    share = zip(times, profiles).map { time, profile in
      let total = profile.stepMicroseconds.reduce(0, +)
      return total > 0 ? time / total : 0
    }
    let bounds = profiles.compactMap { roofline.limit(of: step, in: $0) }
    ofLimit = bounds.isEmpty ? nil : zip(bounds, times).map { $1 > 0 ? $0.microseconds / $1 : 0 }
    limitedBy = bounds.isEmpty ? nil : bounds.map { $0.isArithmetic ? "arithmetic" : "memory" }
  }
}

// MARK: - for a terminal

extension PlanDescription {
  var text: String { ([head, stepTable, timeTable]).map { $0.joined(separator: "\n") }.joined(separator: "\n\n") }

  private var head: [String] {
    [
      "\(BundleOutput.plain(model)) version \(version), plan",
      "  computes in   \(precision.isEmpty ? "no dense layers" : precision) on \(isa)",
      "  trial         \(choice)",
      "  weights       \(BundleOutput.grouped(residentBytes)) bytes packed, tables included",
      "  arena         \(BundleOutput.grouped(arenaBytes)) bytes for up to \(rowsMax) rows",
      "  threads       \(threads)",
      "  limits        \(Self.giga(limits.int8MultiplyAddsPerSecond)) G int8 and \(Self.giga(limits.float32MultiplyAddsPerSecond)) G fp32 multiply-adds/s, \(Self.giga(limits.bytesPerSecond)) GB/s read, one thread",
    ]
  }

  private var stepTable: [String] {
    var table = TextTable([
      ("#", .right), ("node", .left), ("operation", .left), ("columns", .left), ("kernel", .left),
      ("weights", .right), ("reads", .left), ("writes", .left), ("shared from", .right),
    ])
    for (index, step) in steps.enumerated() {
      table.rows.append([
        String(index), BundleOutput.plain(step.node), step.operation, "\(step.inputColumns) → \(step.outputColumns)",
        step.kernel, step.weightBytes == 0 ? "" : BundleOutput.grouped(step.weightBytes), Self.place(step.input),
        Self.place(step.output), step.sharedFromRows.map { "\(BundleOutput.grouped($0)) rows" } ?? "",
      ])
    }
    return ["Steps; reads and writes are bytes of the arena"] + table.lines()
  }

  private var timeTable: [String] {
    var columns: [(title: String, alignment: TextTable.Alignment)] = [("#", .right)]
    for batch in batches {
      columns += [
        (batch.rows == 1 ? "1 row, µs" : "\(batch.rows) rows, µs", .right), ("share", .right), ("of limit", .right),
      ]
    }
    var table = TextTable(columns)
    for (index, step) in steps.enumerated() {
      table.rows.append(
        [String(index)]
          + batches.indices.flatMap { batch in
            [
              Self.micro(step.microseconds[batch]), Self.percent(step.share[batch]),
              step.ofLimit.map { "\(Self.percent($0[batch])) \(step.limitedBy?[batch] ?? "")" } ?? "",
            ]
          })
    }
    table.rows.append(["run"] + batches.flatMap { [Self.micro($0.microseconds), "", ""] })
    return ["Time, medians"] + table.lines()
  }

  private static func place(_ bytes: Bytes) -> String {
    "\(BundleOutput.grouped(bytes.offset)) + \(BundleOutput.grouped(bytes.count))"
  }

  private static func percent(_ part: Double) -> String { "\(Int((100 * part).rounded())) %" }

  private static func micro(_ value: Double) -> String { fixed(value, digits: value < 10 ? 2 : value < 100 ? 1 : 0) }

  private static func giga(_ value: Double) -> String { fixed(value / 1e9, digits: 1) }

  private static func fixed(_ value: Double, digits: Int) -> String {
    var scale = 1
    for _ in 0..<digits { scale *= 10 }
    let scaled = Int((value * Double(scale)).rounded())
    guard digits > 0 else { return BundleOutput.grouped(scaled) }
    let rest = String(scaled % scale)
    return "\(BundleOutput.grouped(scaled / scale)).\(String(repeating: "0", count: digits - rest.count))\(rest)"
  }
}
