import NeedletailTLS
import NeedletailClient
import NeedletailTestSupport
import NeedletailWire
import Testing

@testable import NeedletailLoad

/// Whole runs against a server that lives in this process.
@Suite(.serialized, .timeLimit(.minutes(10))) struct LoadGeneratorTests {
  private static func plan(
    _ server: TinyServer, _ pacing: LoadPacing, check: [ExpectedAnswers] = []
  ) throws -> LoadPlan {
    var frames = RequestFrames()
    for row in 0..<3 {
      try frames.append(
        RequestEncoder.Predict(model: "wine", inputs: [.features([Float(row)], columns: 1)]), rows: 1, model: 0,
        firstRow: row, timeoutMicroseconds: 0)
    }
    var plan = LoadPlan(
      target: .tcp(host: "127.0.0.1", port: server.port), pacing: pacing, frames: frames,
      mix: ModelMix(weights: [1]), names: ["wine"])
    plan.depth = 64
    plan.warmup = .milliseconds(50)
    plan.duration = .milliseconds(400)
    plan.timeout = .seconds(2)
    if !check.isEmpty { plan.checks = [AnswerCheck(check)] }
    return plan
  }

  private static func run(_ plan: LoadPlan) async throws -> LoadReport {
    LoadReport(plan, try await LoadGenerator(plan).run(every: .seconds(1)) { _ in })
  }

  @Test func anOpenLoopSendsItsScheduleAndGetsEveryAnswer() async throws {
    let server = try await TinyServer.start()
    var plan = try Self.plan(server, .open(ratePerSecond: 2000, arrivals: .constant))
    plan.threads = 2
    plan.connections = 3
    let report = try await Self.run(plan)
    #expect(abs(Int(report.offered) - 800) <= 4)
    #expect(report.answered == report.sent)
    #expect(report.good == report.sent)
    #expect(report.statuses == ["OK": report.sent])
    #expect(report.versions == [.init(model: "wine", version: 1, answers: report.sent)])
    #expect(report.failure == nil)
    try await server.stop()
  }

  @Test func withinTLSEveryCallIsAnsweredToo() async throws {
    let (authority, stranger) = (try Certificates(), try Certificates())
    let pair = try authority.issue("server")
    let context = try TLSContext(
      server: .init(
        chain: try #require(TLSCertificate.read(path: pair.certificate)),
        key: try #require(TLSPrivateKey.read(path: pair.key))), clientRoots: nil)
    let server = try await TinyServer.start(tls: context)
    var plan = try Self.plan(server, .closed)
    plan.connections = 3
    plan.tls = ClientTLS(ca: authority.ca)
    let report = try await Self.run(plan)
    #expect(report.good > 100)
    #expect(report.good == report.sent)
    #expect(report.failure == nil)
    // A server that is not whom the CA vouches for gets no call.
    plan.tls = ClientTLS(ca: stranger.ca)
    let refused = try await Self.run(plan)
    #expect(refused.sent == 0 && refused.connectFailures > 0)
    plan.tls = ClientTLS(ca: pair.key)
    await #expect(throws: LoadError.self) { try await Self.run(plan) }
    // Their files go with them.
    withExtendedLifetime((authority, stranger)) {}
    try await server.stop()
  }

  @Test func aClosedLoopKeepsItsDepthInFlightAndNoMore() async throws {
    let server = try await TinyServer.start()
    var plan = try Self.plan(server, .closed)
    plan.depth = 4
    let report = try await Self.run(plan)
    #expect(report.good > 100)
    #expect(report.good == report.sent)
    #expect(server.burstMax <= 4)
    try await server.stop()
  }

  /// The reason for an open loop: a stall of 200 ms is felt by all who were due meanwhile.
  @Test func aStallIsChargedToEveryRequestThatWasDueMeanwhile() async throws {
    let server = try await TinyServer.start(.stalling(after: 300, for: .milliseconds(200)))
    var plan = try Self.plan(server, .open(ratePerSecond: 1000, arrivals: .constant))
    plan.depth = 1
    plan.duration = .milliseconds(600)
    let report = try await Self.run(plan)
    let latency = try #require(report.latencyUs)
    #expect(latency.max > 150_000)
    // A closed loop would have seen one slow answer in hundreds; here it is one third of the run.
    #expect(latency.p90 > 50_000)
    #expect(report.heldBack > 0)
    try await server.stop()
  }

  @Test func refusalsAreCountedByStatusAndAreNoGoodput() async throws {
    let server = try await TinyServer.start(.refusing)
    let report = try await Self.run(Self.plan(server, .open(ratePerSecond: 500, arrivals: .poisson)))
    #expect(report.statuses == ["OVERLOADED": report.answered])
    #expect(report.answered > 0 && report.good == 0)
    #expect(report.latencyUs == nil)
    // How fast it says no is measured too, from the intended send.
    let refusal = try #require(report.refusalUs)
    #expect(refusal.p50 > 0 && refusal.max < 2_000_000)
    #expect(report.lines { text, _ in text }.contains { $0.contains("refusal") })
    #expect(report.failure != nil)
    try await server.stop()
  }

  /// A server may answer in time and yet have computed what nobody waited for any more.
  @Test func callsThatTheServerRanAfterTheirTimeoutAreCounted() async throws {
    for (queued, ranLate) in [(2_000_000, false), (2_000_001, true)] as [(UInt32, Bool)] {
      let server = try await TinyServer.start(.claiming(queueMicroseconds: queued))
      let report = try await Self.run(Self.plan(server, .open(ratePerSecond: 500, arrivals: .constant)))
      #expect(report.answered > 0)
      #expect(report.ranLate == (ranLate ? report.answered : 0))
      try await server.stop()
    }
  }

  @Test func answersAreVerifiedRowByRow() async throws {
    let server = try await TinyServer.start()
    // The server answers every row with the number 0.5.
    for (numbers, isRight) in [([0.5, 0.5, 0.5], true), ([0.5, 0.6, 0.5], false)] as [([Float], Bool)] {
      let expected = ExpectedAnswers(version: nil, rows: 3, numbers: numbers, classes: [], labels: [])
      let report = try await Self.run(
        Self.plan(server, .open(ratePerSecond: 600, arrivals: .constant), check: [expected]))
      #expect(report.verified == report.answered)
      #expect((report.wrong == 0) == isRight)
      #expect((report.failure == nil) == isRight)
      if !isRight { #expect(abs(Int(report.wrong) - Int(report.answered) / 3) <= 2) }
    }
    try await server.stop()
  }

  @Test func anAnswerOfAVersionThatWasNotAskedForIsMixed() async throws {
    let server = try await TinyServer.start()
    var plan = try Self.plan(server, .closed)
    plan.pinnedVersions = [2]
    let report = try await Self.run(plan)
    #expect(report.mixed > 0 && report.mixed == report.answered)
    #expect(report.failure != nil)
    try await server.stop()
  }

  @Test func lostConnectionsAreCountedAndMadeAgain() async throws {
    let server = try await TinyServer.start(.closing(after: 100))
    var plan = try Self.plan(server, .open(ratePerSecond: 2000, arrivals: .constant))
    plan.duration = .milliseconds(800)
    let report = try await Self.run(plan)
    #expect(report.connectionsLost >= 2)
    #expect(report.good > 100)
    #expect(report.answered + report.lost + report.unanswered == report.sent)
    try await server.stop()
  }

  @Test func callsThatAreNeverAnsweredAreReported() async throws {
    let server = try await TinyServer.start(.silent)
    var plan = try Self.plan(server, .open(ratePerSecond: 100, arrivals: .constant))
    plan.timeout = .milliseconds(100)
    let report = try await Self.run(plan)
    #expect(report.sent > 0 && report.unanswered == report.sent)
    #expect(report.failure != nil)
    try await server.stop()
  }

  @Test func aMissingServerIsReportedWithoutATrap() async throws {
    let server = try await TinyServer.start()
    let plan = try Self.plan(server, .open(ratePerSecond: 100, arrivals: .constant))
    try await server.stop()
    let report = try await Self.run(plan)
    #expect(report.connectFailures > 0)
    #expect(report.answered == 0 && report.failure != nil)
  }
}
