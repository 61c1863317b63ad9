internal import ArgumentParser
internal import NeedletailClient
internal import NeedletailCore
internal import NeedletailLoad

struct BenchCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench",
    abstract: "Put load on a server and measure it honestly.",
    discussion: """
      Open loop: requests leave at --rate, whatever the server does, and latency counts from the time
      at which each was meant to leave. --closed sends the next request when an answer comes back.
      Several models are mixed by their weights, e.g. `bench wine:3 digits:1`.

      An API key is shown on every connection. With TLS, handshakes are not measured, but encryption is,
      the generator's own share too.

      Exits with 1 if an answer was wrong, or nothing was answered.

      Examples:
        needletail bench wine --rate 20000 --connections 4
        needletail bench wine --closed --connections 16 --depth 16
        needletail bench wine --input test.csv --expect predictions.csv
        needletail bench wine --ramp --rate 1000 --p99 2ms
      """)

  @Argument(
    help: ArgumentHelp("What to ask; may be repeated.", valueName: "MODEL[@VERSION|@LABEL][:WEIGHT]"))
  var models: [WeightedModel]

  @Option(help: ArgumentHelp("Requests a second; with --ramp the first step's.", valueName: "n"))
  var rate = 1000.0

  @Option(help: ArgumentHelp("Gaps between requests.", valueName: "kind"))
  var arrivals = ArrivalKind.poisson

  @Flag(help: "Closed loop: every answer lets one more request leave.")
  var closed = false

  @Flag(help: "Double the rate until p99 or goodput gives way, then close in on the knee.")
  var ramp = false

  @Option(
    name: .customLong("p99"), help: ArgumentHelp("With --ramp: the p99 that counts as too slow.", valueName: "time"))
  var p99Limit: TimeSpan?

  @Option(help: ArgumentHelp("Connections, shared by the threads.", valueName: "n"))
  var connections = 1

  @Option(help: ArgumentHelp("Calls in flight of one connection (closed: 1, open: up to 1024).", valueName: "n"))
  var depth: Int?

  @Option(help: ArgumentHelp("Rows of one request.", valueName: "n"))
  var batch = 1

  @Option(help: ArgumentHelp("Of all calls.", valueName: "level"))
  var priority = PriorityKind.interactive

  @Option(help: ArgumentHelp("Threads that send, one core each.", valueName: "n"))
  var threads = 1

  @Option(help: ArgumentHelp("Rows to send; else random ones.", valueName: "FILE.csv|FILE.json|-"))
  var input: String?

  @Option(
    help: ArgumentHelp(
      "What --input is answered with, row by row, as the trainer's predictions.csv; may be repeated for versions.",
      valueName: "[VERSION=]FILE.csv"))
  var expect: [String] = []

  @Option(help: ArgumentHelp("Time that counts (10s; each step of --ramp 3s).", valueName: "time"))
  var duration: TimeSpan?

  @Option(help: ArgumentHelp("Time before it that does not.", valueName: "time"))
  var warmup = TimeSpan(duration: .seconds(1), text: "1s")

  @Flag(help: "Print JSON.")
  var json = false

  @OptionGroup var server: ServerOptions

  private static let openDepth = 1024
  private static let depthMax = 65_536

  func validate() throws {
    guard rate > 0, rate <= 1e8 else { throw ValidationError("--rate: expected 0 < n ≤ 100,000,000, found \(rate)") }
    for (name, value, limit) in [
      ("connections", connections, 60_000), ("depth", depth ?? 1, Self.depthMax), ("threads", threads, 256),
      ("batch", batch, Limits.batchRowsMaxDefault),
    ] where value < 1 || value > limit {
      throw ValidationError("--\(name): expected 1 to \(limit), found \(value)")
    }
    guard !closed || !ramp else { throw ValidationError("--ramp needs the open loop: leave out --closed") }
    guard expect.isEmpty || (input != nil && models.count == 1) else {
      throw ValidationError("--expect needs --input and one model")
    }
  }

  func run() async throws {
    let address = try server.address()
    // --timeout is for the load; a server that is still busy with the last one may take longer to describe its models.
    var plan = try await server.withClient(timeoutMin: .seconds(10)) {
      try await BenchInput(self).plan(client: $0, address: address)
    }
    if let key = try server.key() { plan.greeting = try RequestFrames.authentication(key: key) }
    plan.tls = server.encryption
    if ramp { try await findKnee(plan) } else { try await measure(plan) }
  }

  func plan(target: LoadTarget, frames: RequestFrames, checks: [AnswerCheck?]) -> LoadPlan {
    var plan = LoadPlan(
      target: target, pacing: closed ? .closed : .open(ratePerSecond: rate, arrivals: arrivals.arrivals),
      frames: frames,
      mix: ModelMix(weights: models.map(\.weight)), names: models.map(\.reference.model))
    plan.threads = threads
    plan.connections = max(connections, threads)
    plan.depth = depth ?? (closed ? 1 : Self.openDepth)
    plan.timeout = server.timeout.duration
    plan.warmup = warmup.duration
    plan.duration = duration?.duration ?? .seconds(ramp ? 3 : 10)
    plan.checks = checks
    plan.pinnedVersions = models.map { model in
      if case .version(let version) = model.reference.selector { version } else { nil }
    }
    return plan
  }

  private func measure(_ plan: LoadPlan) async throws {
    let report = try await run(plan, title: "")
    if json { try printJSON(report) } else { BenchPrinter.print(report) }
    if let failure = report.failure { throw Failure(failure) }
  }

  private func run(_ plan: LoadPlan, title: String) async throws -> LoadReport {
    var line = ProgressLine(plan, title: title, isQuiet: json)
    let statistics = try await LoadGenerator(plan).run(every: line.interval) { line.show($0) }
    line.clear()
    return LoadReport(plan, statistics)
  }

  private func findKnee(_ plan: LoadPlan) async throws {
    var ramp = Ramp(startingAt: rate, p99LimitMicroseconds: p99Limit.map { $0.duration.inSeconds * 1e6 })
    var plan = plan
    if !json { BenchPrinter.printRampHeader() }
    while let rate = ramp.nextRate {
      plan.pacing = .open(ratePerSecond: rate, arrivals: arrivals.arrivals)
      let report = try await run(plan, title: "\(Figures.rate(rate))/s")
      let verdict = ramp.record(report)
      if !json { BenchPrinter.printRampStep(rate: rate, report, verdict, limit: ramp.p99LimitMicroseconds) }
      if report.wrong + report.mixed + report.strayAnswers > 0 { break }
    }
    if json { try printJSON(RampJSON(ramp)) } else { BenchPrinter.printKnee(ramp) }
    if let failure = ramp.steps.lazy.compactMap({ $0.verdict == .holds ? $0.report.failure : nil }).first {
      throw Failure(failure)
    }
    if ramp.steps.contains(where: { $0.report.wrong + $0.report.mixed + $0.report.strayAnswers > 0 }) {
      throw Failure("expected right answers only, found others")
    }
    if ramp.steps.allSatisfy({ $0.report.good == 0 }) { throw Failure("expected answers, found none") }
  }
}

/// Distribution of the gaps between requests, as an option.
enum ArrivalKind: String, ExpressibleByArgument, CaseIterable {
  case poisson
  case constant

  var arrivals: ArrivalSchedule.Arrivals { self == .poisson ? .poisson : .constant }
}

/// Priority of the calls, as an option.
enum PriorityKind: String, ExpressibleByArgument, CaseIterable {
  case interactive
  case bulk

  var priority: CallPriority { self == .bulk ? .bulk : .interactive }
}

/// A model of the load: `MODEL[@…][:WEIGHT]`.
struct WeightedModel: ExpressibleByArgument {
  var reference: ModelReference
  var weight = 1

  init?(argument: String) {
    var name = Substring(argument)
    if let colon = argument.lastIndex(of: ":") {
      guard let number = Int(argument[argument.index(after: colon)...]), (1...1000).contains(number) else { return nil }
      weight = number
      name = argument[..<colon]
    }
    guard let reference = ModelReference(argument: String(name)) else { return nil }
    self.reference = reference
  }
}

/// The shape of `bench --ramp --json`.
struct RampJSON: Encodable {
  var kneeRate: Double?
  var limitRate: Double?
  var limitReason: String?
  var p99LimitUs: Double?
  var steps: [Ramp.Step]

  init(_ ramp: Ramp) {
    kneeRate = ramp.knee?.rate
    limitRate = ramp.limit?.rate
    limitReason = ramp.limit?.verdict.rawValue
    p99LimitUs = ramp.p99LimitMicroseconds
    steps = ramp.steps
  }
}

/// The calls of a bench, made from the rows of a file or from random numbers, with their expected answers.
struct BenchInput {
  private let command: BenchCommand

  /// Distinct calls of one model with random rows, their bytes, and the bytes of calls from a file.
  private static let randomCallsMax = 256
  private static let randomBytesMax = 16 << 20
  private static let bytesMax = 512 << 20

  init(_ command: BenchCommand) { self.command = command }

  func plan(client: NeedletailClient, address: ServerAddress) async throws -> LoadPlan {
    let input = try command.input.map { try FeatureTable(path: $0) }
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
      let first = call * command.batch
      guard !model.inputs.contains(where: \.isText) else {
        let columns = model.inputs.map { randomColumn($0, &random) }
        try append(columns, first..<(first + command.batch), index, &frames)
        continue
      }
      // A category is sent as its code, any other feature as a number around 0.
      let values = (0..<command.batch).flatMap { _ in
        model.inputs.map { input -> Float in
          input.type == .string && !input.categories.isEmpty
            ? Float(Int(random.unit() * Double(input.categories.count))) : Float(random.unit() * 4 - 2)
        }
      }
      try append(
        [.features(values, columns: model.inputs.count)], first..<(first + command.batch), index, &frames)
    }
  }

  /// Words of random texts, some sixteen a text.
  private static let words = [
    "a", "library", "for", "fast", "small", "server", "of", "games", "and", "the", "network", "tool", "data", "with",
    "fonts",
  ]

  private func randomColumn(_ input: TensorSpecReport, _ random: inout SplitMix64) -> InputTensor {
    func word(of words: [String]) -> String { words[min(Int(random.unit() * Double(words.count)), words.count - 1)] }
    let rows = 0..<command.batch
    guard input.type == .string else { return .column(input.name, rows.map { _ in random.unit() * 4 - 2 }) }
    if input.isText {
      return .column(input.name, rows.map { _ in (0..<16).map { _ in word(of: Self.words) }.joined(separator: " ") })
    }
    // A missing value where no category is known.
    return .column(input.name, rows.map { _ in input.categories.isEmpty ? "" : word(of: input.categories) })
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
  /// Reads `[VERSION=]FILE.csv` with columns `class`, `label` and `p_LABEL …` in the order of the classes, or
  /// `prediction`; others are ignored.
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
    func cells(_ column: Int) -> [String] { (0..<rows).map { table.rows[$0 % period][column].text } }
    let known = table.columns.enumerated().filter {
      $0.element == "prediction" || $0.element.hasPrefix("p_")
    }.map(\.offset)
    let columns = try known.map { try Self.numbers(cells($0), Float.init, path, table.columns[$0]) }
    let classes = try table.columns.firstIndex(of: "class").map {
      try Self.numbers(cells($0), { Int64($0) }, path, "class")
    }
    let labels = table.columns.firstIndex(of: "label").map(cells)
    guard !columns.isEmpty || classes != nil || labels != nil else {
      throw Failure("--expect \(path): expected a column class, label, p_LABEL or prediction, found none")
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
