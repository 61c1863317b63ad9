import NIOCore
import NeedletailCore
import NeedletailMetrics
import NeedletailRedis
import NeedletailSystem
import Synchronization
import Testing

@testable import NeedletailServer

/// Jobs in a real Redis, as servers share them. A store stands for the server that has it.
@Suite("Jobs in Redis", .enabled(if: RedisServer.isInstalled), .timeLimit(.minutes(10)))
struct RedisJobStoreTests {
  /// A server, as far as the store knows of it.
  private struct Member {
    let store: RedisJobStore
    let options: JobOptions
    let requests: JobBudget
    let results: JobBudget

    init(_ redis: RedisServer, _ change: (inout JobOptions) -> Void = { _ in }) {
      var options = JobOptions()
      options.shared = SharedJobOptions(redis.location)
      change(&options)
      self.options = options
      let wakeup = Wakeup()
      let metrics = MetricsRegistry(shards: 1)
      requests = JobBudget(bytesMax: options.bytesMax / 2, wakeup: wakeup)
      results = JobBudget(bytesMax: options.bytesMax / 2, wakeup: wakeup)
      guard let shared = options.shared else { preconditionFailure("a change keeps the store") }
      store = RedisJobStore(
        shared, options, requests: requests, results: results, counters: JobCounters(metrics: metrics), wakeup: wakeup,
        metrics: metrics
      ) { _ in }
    }

    func job(
      _ number: UInt64, caller: String = "a", key: String? = nil, digest: [UInt8] = [], model: String = "m",
      body: [UInt8] = Array("request".utf8)
    ) throws -> Jobs.Submission {
      let reference = ModelReference(model: model, selector: .version(3))
      let head = JobHead(callID: 0, model: reference, bodyBytes: body.count, jsonBytes: 5, key: key)
      let reservation = try #require(requests.reserve(body.count))
      let upload = try #require(JobUpload(head, reservation))
      _ = body.withUnsafeBytes { upload.append($0) }
      return Jobs.Submission(
        id: JobID(high: 7, low: number), caller: caller, key: key, digest: digest, model: reference, request: upload)
    }

    @discardableResult
    func submit(_ number: UInt64, caller: String = "a", key: String? = nil, digest: [UInt8] = []) async throws -> (
      status: JobStatus, isNew: Bool
    ) {
      try await store.submit(try job(number, caller: caller, key: key, digest: digest))
    }

    /// Waits for the next job, as the thread that runs jobs does.
    func turn() async throws -> Jobs.Turn {
      try await BlockingPeer.run {
        while true { if let turn = store.next().turn { return turn } }
      }
    }

    func end(_ turn: Jobs.Turn, _ body: [UInt8] = Array("result".utf8), json: Int? = nil) async throws {
      let reservation = try await BlockingPeer.run { try store.reserve(turn, bytes: body.count).reservation }
      let result = JobResult(ByteBuffer(bytes: body), jsonBytes: json, try #require(reservation))
      try await BlockingPeer.run { store.end(turn, with: .success(result)) }
    }

    /// Asks until a job is in a state.
    func wait(_ number: UInt64, for state: JobState, caller: String = "a") async throws -> JobStatus {
      while true {
        let status = try #require(try await store.status(JobID(high: 7, low: number), caller: caller))
        if status.state == state { return status }
      }
    }
  }

  private static func with(_ body: (RedisServer) async throws -> Void) async throws {
    let redis = try await BlockingPeer.run { try RedisServer() }
    defer { redis.kill() }
    try await body(redis)
  }

  private static func id(_ number: UInt64) -> JobID { JobID(high: 7, low: number) }

  @Test func aJobIsSubmittedRunAndFetchedAtThreeServers() async throws {
    try await Self.with { redis in
      let (one, other, third) = (Member(redis), Member(redis), Member(redis))
      let (status, isNew) = try await one.submit(1)
      #expect(isNew && status.state == .queued && status.model == "m")
      let turn = try await other.turn()
      #expect(turn.id == Self.id(1) && Array(turn.request.bytes) == Array("request".utf8))
      #expect(turn.request.head.jsonBytes == 5)
      guard case .version(3) = turn.request.head.model.selector else {
        Issue.record("another version")
        return
      }
      #expect(try await third.store.status(Self.id(1), caller: "a")?.state == .running)
      turn.progress.rows.store(8, ordering: .relaxed)
      try await other.end(turn, json: 2)
      let done = try await third.wait(1, for: .done)
      #expect(done.rows == 8 && done.rowsDone == 8 && done.expiresInMilliseconds ?? 0 > 3_000_000)
      guard case .answer(let result)? = try await third.store.result(Self.id(1), caller: "a") else {
        Issue.record("no result")
        return
      }
      #expect(Array(result.body.readableBytesView) == Array("result".utf8) && result.jsonBytes == 2)
      for member in [one, other, third] {
        #expect(try await member.store.status(Self.id(1), caller: "b") == nil)
        #expect(try await member.store.result(Self.id(1), caller: "b") == nil)
        #expect(try await member.store.cancel(Self.id(1), caller: "b") == nil)
      }
      #expect(try await one.store.cancel(Self.id(1), caller: "a")?.state == .expired)
      #expect(try redis.ask("EXISTS", "needletail:jobs:1:result:\(Self.id(1))") == .integer(0))
      for member in [one, other, third] { await member.store.stop() }
    }
  }

  @Test func serversTakeJobsInTheOrderInWhichTheyCame() async throws {
    try await Self.with { redis in
      let members = [Member(redis), Member(redis)]
      for number in 1...6 { try await members[number % 2].submit(UInt64(number)) }
      for number in 1...6 {
        let member = members[number / 2 % 2]
        let turn = try await member.turn()
        #expect(turn.id == Self.id(UInt64(number)))
        try await member.end(turn)
      }
      for member in members { await member.store.stop() }
    }
  }

  @Test func longBodiesComeBackAsTheyWere() async throws {
    try await Self.with { redis in
      let (one, other) = (Member(redis), Member(redis))
      let request = (0..<1_300_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
      let (_, isNew) = try await one.store.submit(try one.job(1, body: request))
      #expect(isNew)
      let turn = try await other.turn()
      #expect(Array(turn.request.bytes) == request)
      let answer = (0..<2_100_000).map { UInt8(truncatingIfNeeded: $0 &* 17) }
      try await other.end(turn, answer)
      guard case .answer(let result)? = try await one.store.result(Self.id(1), caller: "a") else {
        Issue.record("no result")
        return
      }
      #expect(Array(result.body.readableBytesView) == answer)
      for member in [one, other] { await member.store.stop() }
    }
  }

  @Test func boundsHoldOverTheFleet() async throws {
    try await Self.with { redis in
      let change = { (options: inout JobOptions) in
        options.countMax = 3
        options.perCallerMax = 2
      }
      let (one, other) = (Member(redis, change), Member(redis, change))
      try await one.submit(1)
      try await other.submit(2)
      let own = await #expect(throws: ServingError.self) { try await one.submit(3) }
      #expect(own?.code == .overloaded && own?.detail?.limit?.name == "jobs_per_caller_max")
      try await one.submit(4, caller: "b")
      let all = await #expect(throws: ServingError.self) { try await other.submit(5, caller: "c") }
      #expect(all?.code == .overloaded && all?.detail?.limit?.name == "jobs_max")
      #expect(all?.retryAfterMicroseconds ?? 0 > 0)
      #expect(try await other.store.cancel(Self.id(1), caller: "a")?.state == .cancelled)
      try await other.submit(6)
      let narrow = Member(redis) { $0.bytesMax = 2 * (3 * 7 + 1) }
      let bytes = await #expect(throws: ServingError.self) { try await narrow.submit(7, caller: "d") }
      #expect(bytes?.code == .overloaded && bytes?.detail?.limit?.name == RedisJobStore.bytesLimit)
      for member in [one, other, narrow] { await member.store.stop() }
    }
  }

  /// Many submissions at once, through several servers: as many find a place as there are.
  @Test func manyAtOnceFindAsManyPlacesAsThereAre() async throws {
    try await Self.with { redis in
      let members = (0..<3).map { _ in Member(redis) { $0.countMax = 20 } }
      let taken = await withTaskGroup(of: Bool.self) { group in
        for number in 0..<60 {
          group.addTask { (try? await members[number % 3].submit(UInt64(number), caller: "\(number)")) != nil }
        }
        return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
      }
      #expect(taken == 20)
      for member in members { await member.store.stop() }
    }
  }

  @Test func theSameKeyAndRequestAreOneJobForAllServers() async throws {
    try await Self.with { redis in
      let (one, other) = (Member(redis), Member(redis))
      #expect(try await one.submit(1, key: "k", digest: [1]).isNew)
      let again = try await other.submit(2, key: "k", digest: [1])
      #expect(!again.isNew && again.status.id == Self.id(1))
      let conflict = await #expect(throws: ServingError.self) { try await other.submit(3, key: "k", digest: [2]) }
      #expect(conflict?.code == .invalidArgument && conflict?.detail?.field == "Idempotency-Key")
      #expect(conflict?.message.contains("\(Self.id(1))") == true)
      #expect(try await other.submit(4, caller: "b", key: "k", digest: [2]).isNew)
      for member in [one, other] { await member.store.stop() }
    }
  }

  /// A server that was killed renews nothing. Another one begins its job anew, and after so many it fails.
  @Test func aJobWhoseServerIsLostIsBegunAnewAndNotForEver() async throws {
    try await Self.with { redis in
      let change = { (options: inout JobOptions) -> Void in options.shared?.runsMax = 2 }
      let one = Member(redis, change)
      try await one.submit(1)
      try await one.submit(2)
      try Self.claimAndDie(redis)
      let turn = try await one.turn()
      #expect(turn.id == Self.id(1), "before the one that came later")
      try await BlockingPeer.run { one.store.end(turn, with: .failure(.invalidArgument("row"))) }
      #expect(try await one.wait(1, for: .failed).error == .invalidArgument("row"))
      for _ in 0..<2 { try Self.claimAndDie(redis) }
      #expect(try await one.wait(2, for: .failed).error?.code == .internal)
      await one.store.stop()
    }
  }

  /// Gets the next job with a lease that is over at once.
  private static func claimAndDie(_ redis: RedisServer) throws {
    let connection = try RedisConnection(to: redis.location, password: nil, milliseconds: 5000)
    while true {
      let reply = try JobReply(
        try connection.run(
          JobScripts.claim, keys: ["needletail:jobs:1:"],
          [.number(600_000), .number(100), .number(2), .text("dead"), .number(1)]))
      if reply.verdict == "turn" { return }
    }
  }

  /// What a server brings that was away for longer than its lease is nobody's.
  @Test func onlyTheServerThatHasTheJobEndsIt() async throws {
    try await Self.with { redis in
      let (one, other) = (Member(redis), Member(redis))
      try await one.submit(1)
      let turn = try await one.turn()
      let record = "needletail:jobs:1:job:\(Self.id(1))"
      try redis.ask("HSET", record, "owner", "another")
      try await BlockingPeer.run { one.store.end(turn, with: .failure(.invalidArgument("late"))) }
      #expect(try await other.store.status(Self.id(1), caller: "a")?.state == .running)
      for member in [one, other] { await member.store.stop() }
    }
  }

  @Test func aCancelledJobEndsAtTheServerThatRunsIt() async throws {
    try await Self.with { redis in
      let (one, other) = (Member(redis), Member(redis))
      try await one.submit(1)
      let turn = try await one.turn()
      #expect(try await other.store.cancel(Self.id(1), caller: "a")?.state == .cancelled)
      while !turn.progress.isCancelled.load(ordering: .relaxed) { await Task.yield() }
      guard case .none(let status)? = try await one.store.result(Self.id(1), caller: "a") else {
        Issue.record("a cancelled job has a result")
        return
      }
      #expect(status.state == .cancelled)
      for member in [one, other] { await member.store.stop() }
    }
  }

  @Test func theJobOfAServerThatStopsIsRunByAnother() async throws {
    try await Self.with { redis in
      let change = { (options: inout JobOptions) -> Void in options.shared?.runsMax = 1 }
      let (one, other) = (Member(redis, change), Member(redis, change))
      try await one.submit(1)
      let turn = try await one.turn()
      #expect(one.store.giveBackRunning())
      let again = try await other.turn()
      #expect(again.id == turn.id && turn.progress.isCancelled.load(ordering: .relaxed))
      try await other.end(again)
      #expect(try await one.store.status(Self.id(1), caller: "a")?.state == .done, "it was begun once, as it may be")
      for member in [one, other] { await member.store.stop() }
    }
  }

  @Test func whatIsOverIsGone() async throws {
    try await Self.with { redis in
      let one = Member(redis) { options in
        options.resultTime = .milliseconds(20)
        options.time = .seconds(3600)
      }
      try await one.submit(1)
      try await one.end(try await one.turn())
      #expect(try await one.wait(1, for: .expired).expiresInMilliseconds == nil)
      let brief = Member(redis) { $0.time = .milliseconds(1) }
      await one.store.stop()
      try await brief.submit(2)
      #expect(try await brief.wait(2, for: .failed).error?.code == .deadlineExceeded)
      for kind in ["request", "result"] {
        for number in 1...2 as ClosedRange<UInt64> {
          #expect(try redis.ask("EXISTS", "needletail:jobs:1:\(kind):\(Self.id(number))") == .integer(0))
        }
      }
      // Every key ends by itself, whether servers are there or not.
      let keys = try #require(try redis.ask("KEYS", "*").list?.compactMap(\.text))
      for key in keys { #expect(try redis.ask("PTTL", key).integer ?? -1 > 0, "\(key)") }
      await brief.store.stop()
    }
  }

  @Test func recordsThatOthersWroteAreErrorsOfTheirJobs() async throws {
    try await Self.with { redis in
      let p = "needletail:jobs:1:"
      let one = Member(redis)
      for number in 1...9 { try await one.submit(UInt64(number)) }
      func record(_ number: UInt64) -> String { "\(p)job:\(Self.id(number))" }
      try redis.ask("HSET", record(1), "layout", "2")
      try redis.ask("HSET", record(2), "bytes", "99999999999")
      try redis.ask("HSET", record(3), "bytes", "-1")
      try redis.ask("HSET", record(4), "model", String(repeating: "x", count: 70_000))
      try redis.ask("DEL", "\(p)request:\(Self.id(5))")
      try redis.ask("SET", "\(p)request:\(Self.id(6))", "no list")
      try redis.ask("DEL", "\(p)request:\(Self.id(7))")
      try redis.ask("RPUSH", "\(p)request:\(Self.id(7))", "abc")
      try redis.ask("DEL", record(8))
      try redis.ask("SET", record(8), "no hash")
      try redis.ask("ZADD", "\(p)queue", "-5", "no id", "-4", String(repeating: "Z", count: 32))
      try redis.ask("HSET", "\(p)job:\(String(repeating: "Z", count: 32))", "layout", "1")
      let turn = try await one.turn()
      #expect(turn.id == Self.id(9), "all others cannot be run")
      for number in [2, 3, 5, 6, 7] as [UInt64] {
        #expect(try await one.store.status(Self.id(number), caller: "a")?.state == .failed, "\(number)")
      }
      await #expect(throws: ServingError.self, "another layout") { try await one.store.status(Self.id(1), caller: "a") }
      #expect(try await one.store.status(Self.id(4), caller: "a") == nil, "forgotten")
      #expect(try await one.store.status(Self.id(8), caller: "a") == nil, "forgotten")

      try await one.end(turn)
      try redis.ask("RPUSH", "\(p)result:\(Self.id(9))", "more")
      guard case .answer? = try await one.store.result(Self.id(9), caller: "a") else {
        Issue.record("what stands behind a result is not read")
        return
      }
      for (field, value) in [
        ("result_bytes", "7"), ("result_bytes", "99999999999"), ("result_json", "8"), ("state", "?"),
      ] {
        try redis.ask("HSET", record(9), field, value)
        let error = await #expect(throws: ServingError.self, "\(field)") {
          try await one.store.result(Self.id(9), caller: "a")
        }
        #expect(error?.code == .internal)
      }
      await one.store.stop()
    }
  }

  @Test func withoutRedisCallsAreAnsweredAndWithItAgainTheyWork() async throws {
    try await Self.with { redis in
      let one = Member(redis)
      try await one.submit(1)
      redis.kill()
      for number in 2...20 {
        let error = await #expect(throws: ServingError.self) { try await one.submit(UInt64(number)) }
        #expect(error?.code == .unavailable && error?.retryAfterMicroseconds ?? 0 > 0)
      }
      let asked = await #expect(throws: ServingError.self) { try await one.store.status(Self.id(1), caller: "a") }
      #expect(asked?.code == .unavailable && one.store.next().turn == nil)
      try await BlockingPeer.run { try redis.restart() }
      while true {
        do {
          // It was never written to a disk.
          #expect(try await one.store.status(Self.id(1), caller: "a") == nil)
          break
        } catch { await Task.yield() }
      }
      try await one.submit(2)
      await one.store.stop()
    }
  }
}
