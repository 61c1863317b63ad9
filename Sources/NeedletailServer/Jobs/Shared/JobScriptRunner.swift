internal import NeedletailCore
internal import NeedletailMetrics
internal import NeedletailRedis
internal import Synchronization

/// Runs scripts of ``JobScripts`` and counts what they tell. Any thread.
final class JobScriptRunner: Sendable {
  private let keys: String
  private let runsMax: Int
  private let counters: JobCounters
  private let takenOver: Counter
  private let seen = Mutex(JobReply.Counts?.none)

  init(_ options: SharedJobOptions, counters: JobCounters, metrics: MetricsRegistry) {
    keys = options.keys
    runsMax = options.runsMax
    self.counters = counters
    takenOver = metrics.counter(
      "needletail_job_takeovers_total",
      help: "Jobs that this server found without the server that ran them, and that wait again.")
  }

  /// What there was at the last answer; nil: there was none yet.
  var counts: JobReply.Counts? { seen.withLock { $0 } }

  /// Name of a key.
  func key(_ kind: String, _ id: JobID) -> String { "\(keys)\(kind):\(id)" }

  func run(
    _ script: RedisScript, _ arguments: [RedisArgument], _ connection: RedisConnection
  ) throws(RedisError) -> JobReply {
    let all: [RedisArgument] =
      [.number(Limits.jobMemorySeconds * 1000), .number(Limits.jobsRememberedMax), .number(runsMax)] + arguments
    let reply = try JobReply(try connection.run(script, keys: [keys], all))
    seen.withLock { $0 = reply.counts }
    let swept = reply.swept
    if swept.overdue + swept.lost > 0 { counters.came(to: .failed).add(UInt64(swept.overdue + swept.lost)) }
    if swept.expired > 0 { counters.came(to: .expired).add(UInt64(swept.expired)) }
    if swept.takenOver > 0 { takenOver.add(UInt64(swept.takenOver)) }
    return reply
  }
}
