import NeedletailCore
import Synchronization
import Testing

@testable import NeedletailServer

/// The way of jobs, with a clock that is moved by hand.
@Suite struct JobTableTests {
  private final class Item: Sendable {
    let name: String
    init(_ name: String) { self.name = name }
  }

  private typealias Table = JobTable<Item, Item>

  private static func bounds(countMax: Int = 10, perCallerMax: Int = 10, rememberedMax: Int = 100) -> Table.Bounds {
    var bounds = Table.Bounds()
    bounds.countMax = countMax
    bounds.perCallerMax = perCallerMax
    bounds.rememberedMax = rememberedMax
    bounds.jobNanoseconds = 1000
    bounds.resultNanoseconds = 100
    bounds.memoryNanoseconds = 10
    return bounds
  }

  private static func id(_ number: UInt64) -> JobID { JobID(high: 7, low: number) }

  private static func at(_ nanoseconds: UInt64) -> Instant { Instant(nanoseconds: nanoseconds) }

  private static func job(
    _ number: UInt64, caller: String = "a", key: String? = nil, digest: [UInt8] = [], model: String = "m"
  ) -> Table.Submission {
    Table.Submission(
      id: id(number), caller: caller, key: key, digest: digest, model: ModelReference(model: model, selector: .serving),
      request: Item("request \(number)"))
  }

  @Test func aJobGoesFromItsQueueToItsResultAndIsForgotten() throws {
    var table = Table(Self.bounds())
    let (status, isNew) = try table.submit(Self.job(1), now: Self.at(0))
    #expect(isNew && status.state == .queued && status.id == Self.id(1))
    guard case .none(let early)? = table.result(Self.id(1), caller: "a", now: Self.at(1)) else {
      Issue.record("a job that waits has a result")
      return
    }
    #expect(early.state == .queued)
    let next = table.next(now: Self.at(2))
    let turn = try #require(next)
    #expect(turn.id == Self.id(1) && turn.request.name == "request 1" && turn.due == Self.at(1000))
    #expect(table.next(now: Self.at(2)) == nil, "one runs")
    turn.progress.rows.store(8, ordering: .relaxed)
    turn.progress.rowsDone.store(3, ordering: .relaxed)
    let found = table.status(Self.id(1), caller: "a", now: Self.at(3_000_003))
    let running = try #require(found)
    #expect(running.state == .running && running.rows == 8 && running.rowsDone == 3 && running.ageMilliseconds == 3)
    #expect(table.end(Self.id(1), with: .success(Item("answer")), now: Self.at(10)) == true)
    #expect(table.sweep(now: Self.at(109)).dropped.isEmpty == true)
    guard case .answer(let answer)? = table.result(Self.id(1), caller: "a", now: Self.at(109)) else {
      Issue.record("a job that is done has no result")
      return
    }
    #expect(answer.name == "answer" && table.nextDue == Self.at(110))
    let swept = table.sweep(now: Self.at(110))
    #expect(swept.expired == 1 && swept.dropped.count == 1)
    #expect(table.status(Self.id(1), caller: "a", now: Self.at(111))?.state == .expired)
    _ = table.sweep(now: Self.at(119))
    #expect(table.status(Self.id(1), caller: "a", now: Self.at(119)) != nil)
    _ = table.sweep(now: Self.at(120))
    #expect(table.status(Self.id(1), caller: "a", now: Self.at(120)) == nil && table.nextDue == nil)
  }

  @Test func jobsRunInTheOrderInWhichTheyCame() throws {
    var table = Table(Self.bounds())
    for number in 1...3 { _ = try table.submit(Self.job(UInt64(number)), now: Self.at(0)) }
    for number in 1...3 {
      let next = table.next(now: Self.at(1))
      let turn = try #require(next)
      #expect(turn.id == Self.id(UInt64(number)))
      #expect(table.end(turn.id, with: .failure(.invalidArgument("row")), now: Self.at(1)) == true)
      #expect(table.status(turn.id, caller: "a", now: Self.at(1))?.error == .invalidArgument("row"))
    }
  }

  @Test func aJobIsThereForItsCallerOnly() throws {
    var table = Table(Self.bounds())
    _ = try table.submit(Self.job(1), now: Self.at(0))
    #expect(table.status(Self.id(1), caller: "b", now: Self.at(0)) == nil)
    #expect(table.result(Self.id(1), caller: "b", now: Self.at(0)) == nil)
    #expect(table.cancel(Self.id(1), caller: "b", now: Self.at(0)) == nil)
    #expect(table.status(Self.id(1), caller: "a", now: Self.at(0))?.state == .queued)
  }

  @Test func aFullTableTakesNoMoreUntilAJobHasNeitherRequestNorResult() throws {
    var table = Table(Self.bounds(countMax: 3, perCallerMax: 2))
    _ = try table.submit(Self.job(1), now: Self.at(0))
    _ = try table.submit(Self.job(2), now: Self.at(0))
    let own = #expect(throws: ServingError.self) { try table.submit(Self.job(3), now: Self.at(0)) }
    #expect(own?.code == .overloaded && own?.detail?.limit?.name == "jobs_per_caller_max")
    _ = try table.submit(Self.job(4, caller: "b"), now: Self.at(0))
    let all = #expect(throws: ServingError.self) { try table.submit(Self.job(5, caller: "c"), now: Self.at(0)) }
    #expect(all?.code == .overloaded && all?.detail?.limit?.name == "jobs_max" && all?.retryAfterMicroseconds ?? 0 > 0)
    let next = table.next(now: Self.at(0))
    let turn = try #require(next)
    _ = table.end(turn.id, with: .success(Item("answer")), now: Self.at(0))
    #expect(throws: ServingError.self, "a result takes a place") { try table.submit(Self.job(3), now: Self.at(0)) }
    #expect(table.cancel(turn.id, caller: "a", now: Self.at(0))?.status.state == .expired)
    #expect(try table.submit(Self.job(3), now: Self.at(0)).isNew == true)
  }

  @Test func aCancelledJobEndsWhereverItIs() throws {
    var table = Table(Self.bounds())
    for number in 1...2 { _ = try table.submit(Self.job(UInt64(number)), now: Self.at(0)) }
    let found = table.cancel(Self.id(2), caller: "a", now: Self.at(0))
    let waiting = try #require(found)
    #expect(waiting.status.state == .cancelled && waiting.dropped != nil)
    let next = table.next(now: Self.at(0))
    let turn = try #require(next)
    #expect(table.cancel(Self.id(1), caller: "a", now: Self.at(0))?.status.state == .cancelled)
    #expect(turn.progress.isCancelled.load(ordering: .relaxed) == true)
    #expect(table.end(Self.id(1), with: .success(Item("late")), now: Self.at(1)) == false, "nobody waits for it")
    #expect(table.status(Self.id(1), caller: "a", now: Self.at(1))?.state == .cancelled)
    #expect(table.cancel(Self.id(1), caller: "a", now: Self.at(1))?.status.state == .cancelled, "again")
    #expect(table.next(now: Self.at(1)) == nil)
  }

  @Test func aJobThatWaitsTooLongFails() throws {
    var table = Table(Self.bounds())
    _ = try table.submit(Self.job(1), now: Self.at(5))
    #expect(table.nextDue == Self.at(1005))
    #expect(table.sweep(now: Self.at(1004)).overdue == 0)
    let swept = table.sweep(now: Self.at(1005))
    #expect(swept.overdue == 1 && swept.dropped.count == 1)
    #expect(table.status(Self.id(1), caller: "a", now: Self.at(1005))?.error?.code == .deadlineExceeded)
    #expect(table.next(now: Self.at(1005)) == nil)
  }

  @Test func theSameKeyAndRequestAreOneJob() throws {
    var table = Table(Self.bounds())
    #expect(try table.submit(Self.job(1, key: "k", digest: [1]), now: Self.at(0)).isNew == true)
    let again = try table.submit(Self.job(2, key: "k", digest: [1]), now: Self.at(1))
    #expect(!again.isNew && again.status.id == Self.id(1))
    #expect(table.status(Self.id(2), caller: "a", now: Self.at(1)) == nil)
    for other in [Self.job(3, key: "k", digest: [2]), Self.job(3, key: "k", digest: [1], model: "n")] {
      let error = #expect(throws: ServingError.self) { try table.submit(other, now: Self.at(1)) }
      #expect(error?.code == .invalidArgument && error?.detail?.field == "Idempotency-Key")
    }
    #expect(try table.submit(Self.job(4, caller: "b", key: "k", digest: [2]), now: Self.at(1)).isNew == true)
    _ = table.cancel(Self.id(1), caller: "a", now: Self.at(2))
    #expect(
      try table.submit(Self.job(5, key: "k", digest: [1]), now: Self.at(2)).isNew == false, "as long as it is known")
    _ = table.sweep(now: Self.at(12))
    #expect(try table.submit(Self.job(6, key: "k", digest: [2]), now: Self.at(12)).isNew == true)
  }

  @Test func onlySoManyEndedJobsAreRemembered() throws {
    var table = Table(Self.bounds(rememberedMax: 2))
    for number in 1...5 {
      _ = try table.submit(Self.job(UInt64(number)), now: Self.at(0))
      _ = table.cancel(Self.id(UInt64(number)), caller: "a", now: Self.at(0))
    }
    _ = table.sweep(now: Self.at(0))
    #expect(table.counts[.cancelled] == 2)
    #expect(table.status(Self.id(3), caller: "a", now: Self.at(0)) == nil)
    #expect(table.status(Self.id(4), caller: "a", now: Self.at(0)) != nil)
  }

  @Test func jobsThatWaitFailTogetherAtTheEnd() throws {
    var table = Table(Self.bounds())
    for number in 1...3 { _ = try table.submit(Self.job(UInt64(number)), now: Self.at(0)) }
    _ = table.next(now: Self.at(0))
    #expect(table.failWaiting(.unavailable("stop"), now: Self.at(1)).count == 2)
    #expect(table.status(Self.id(1), caller: "a", now: Self.at(1))?.state == .running)
    #expect(table.status(Self.id(3), caller: "a", now: Self.at(1))?.error == .unavailable("stop"))
  }

  @Test func idsAreReadAsTheyAreWritten() throws {
    let id = JobID.random()
    let text = id.description
    #expect(Array(text.utf8).withUnsafeBytes { JobID($0) } == id && text.utf8.count == JobID.digits)
    #expect(JobID.random() != id)
    for wrong in ["", "12", text + "0", text.dropLast() + "g", String(repeating: "A", count: 32)] {
      #expect(Array(wrong.utf8).withUnsafeBytes { JobID($0) } == nil, "\(wrong)")
    }
  }
}
