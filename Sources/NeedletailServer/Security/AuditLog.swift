internal import Logging
internal import NeedletailCore
internal import NeedletailModels
internal import NeedletailSockets
internal import NeedletailWire
internal import Synchronization

/// The maker of a call: the name of the key or certificate, and the other end of the connection.
struct Caller: Equatable, Sendable {
  /// `key "checkout"`; without keys and certificates `anyone`.
  let name: String
  let peer: Peer
}

/// Says who tried to get in, and who changed what: who, from where, what, and what came of it. Any thread may use it; it
/// takes a lock and makes text, for what is rare.
///
/// Refusals are log lines with `audit=refused`, few for each peer however many it causes. Changes are events, so that
/// `needletail events` shows them too.
final class AuditLog: Sendable {
  private let logger: Logger
  private let authentications = Mutex(RefusalLedger())
  private let calls = Mutex(RefusalLedger())

  init(logger: Logger) { self.logger = logger }

  /// Notes a wrong key.
  /// - Parameter reason: the message for the client; it never holds the key.
  /// - Returns: how long the answer is to wait: it grows with the wrong keys that came from the peer's host of late, over
  ///   all its connections. Right keys never wait.
  func refusedKey(_ peer: Peer, reason: String, now: Instant) -> Duration {
    let entry = authentications.withLock { $0.add(peer.host, now: now) }
    write("authentication refused", entry, peer, reason)
    return .milliseconds(entry.delayMilliseconds)
  }

  /// Notes a certificate that does not count.
  func refusedCertificate(_ peer: Peer, reason: String, now: Instant) {
    write("client certificate refused", authentications.withLock { $0.add(peer.host, now: now) }, peer, reason)
  }

  /// Notes a call that would have changed something and was not allowed.
  func refusedChange(_ caller: Caller, reason: String, now: Instant) {
    write("change refused", calls.withLock { $0.add(caller.peer.host, now: now) }, caller.peer, reason, by: caller.name)
  }

  private func write(
    _ what: String, _ entry: RefusalLedger.Entry, _ peer: Peer, _ reason: String, by name: String? = nil
  ) {
    guard entry.isSaid else { return }
    var metadata: Logger.Metadata = [
      "audit": "refused", "from": "\(peer.text)", "reason": "\(reason)", "attempts": .stringConvertible(entry.count),
    ]
    if let name { metadata["by"] = "\(name)" }
    if entry.unsaid > 0 { metadata["unsaid"] = .stringConvertible(entry.unsaid) }
    logger.warning("\(what)", metadata: metadata)
  }

  /// Tells of an undo that somebody asked for.
  /// - Parameter failure: why it was not done; nil: it was.
  static func undo(of model: String, _ undo: RolloutUndo, _ caller: Caller, failure: ServingError?, in log: EventLog) {
    var facts: [Event.Fact] = [
      .init("audit", failure == nil ? "done" : "failed"), .init("by", caller.name), .init("from", caller.peer.text),
    ]
    if undo.version > 0 { facts.append(.init("left", undo.version)) }
    if undo.isForced { facts.append(.init("forced", "yes")) }
    if let failure { facts.append(.init("reason", failure.message)) }
    // Only a name that a model can have is shown as one.
    let id = try? ModelID(model)
    if id == nil { facts.append(.init("name", model)) }
    log.emit(.rollout, .notice, "undo asked for", model: id, facts)
  }
}

/// The hosts that were refused of late: which refusal is worth a line, and how long its answer waits. Pure.
struct RefusalLedger {
  struct Entry: Equatable {
    /// Refusals of the host since it was last quiet, with this one.
    var count: Int
    /// Whether a line is written.
    var isSaid: Bool
    /// Refusals of all hosts since the last line, for which none was written.
    var unsaid: Int
    var delayMilliseconds: Int
  }

  private struct Host {
    var count = 0
    var last: Instant
    /// Time from which the next line may be written.
    var nextLine: Instant
  }

  private var hosts: [String: Host] = [:]
  private var unsaid = 0
  private var second: UInt64 = 0
  private var linesInSecond = 0

  /// Adds a refusal of a host.
  mutating func add(_ name: String, now: Instant) -> Entry {
    var host = hosts[name] ?? Host(last: now, nextLine: now)
    if Self.passed(Limits.refusalMemorySeconds, since: host.last, now) { host = Host(last: now, nextLine: now) }
    host.count += 1
    host.last = now
    let isSaid = takeLine(&host, now)
    if hosts[name] == nil, hosts.count >= Limits.refusalHostsMax { forgetOldest() }
    hosts[name] = host
    let entry = Entry(
      count: host.count, isSaid: isSaid, unsaid: isSaid ? unsaid : 0, delayMilliseconds: Self.delay(host.count))
    unsaid = isSaid ? 0 : unsaid + 1
    return entry
  }

  /// The first few refusals are mistakes of people, and each has its line; then one line a while.
  private mutating func takeLine(_ host: inout Host, _ now: Instant) -> Bool {
    guard host.count <= Limits.refusalsFree || now >= host.nextLine else { return false }
    if now.nanoseconds / 1_000_000_000 != second {
      second = now.nanoseconds / 1_000_000_000
      linesInSecond = 0
    }
    // Many hosts together must not fill the log either.
    guard linesInSecond < Limits.refusalLinesPerSecond else { return false }
    linesInSecond += 1
    host.nextLine = now.advanced(byMicroseconds: UInt64(Limits.refusalLineSeconds) * 1_000_000)
    return true
  }

  private mutating func forgetOldest() {
    guard let oldest = hosts.min(by: { $0.value.last < $1.value.last })?.key else { return }
    hosts[oldest] = nil
  }

  private static func delay(_ count: Int) -> Int {
    guard count > Limits.refusalsFree else { return 0 }
    let doublings = min(count - Limits.refusalsFree - 1, 16)
    return min(Limits.refusalDelayMillisecondsMin << doublings, Limits.refusalDelayMillisecondsMax)
  }

  private static func passed(_ seconds: Int, since start: Instant, _ now: Instant) -> Bool {
    now.nanoseconds >= start.nanoseconds && now.nanoseconds - start.nanoseconds >= UInt64(seconds) * 1_000_000_000
  }
}
