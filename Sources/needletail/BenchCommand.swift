internal import ArgumentParser
internal import NeedletailClient
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
