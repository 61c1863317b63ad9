internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailMetrics
internal import NeedletailModels

/// Answers of one event loop by the rows that were asked, whatever protocol they came in: see ``AnswerRing``. Confined to
/// the loop, so that it needs no lock; the same question on two loops is computed and kept twice.
///
/// It is asked when a call's rows are bound, that is, after everything that decides about the call, and what it gives is the
/// bits that computing would. Where live statistics or a shadow want the rows of a version, its calls are computed as if
/// there were no cache: popular rows would otherwise be missing in what they see.
///
/// `@unchecked Sendable`: only the thread of its loop touches it once it is made.
public final class ResponseCache: @unchecked Sendable {
  private var ring: AnswerRing
  private let models: [String]?
  private let counters: CacheCounters
  private let shard: Int
  /// Memory for keys that do not lie together.
  private let keyMemory: UnsafeMutableRawBufferPointer
  private var versions: UInt32 = 0
  private var evictionsCounted = 0
  private var bytesCounted = 0

  /// - Parameters:
  ///   - loops: number of loops, each of which has its part of the bytes.
  ///   - seed: secret number by which rows are hashed.
  /// - Returns: nil if the system has no memory.
  public init?(_ options: CacheOptions, loops: Int, seed: UInt64, counters: CacheCounters, shard: Int) {
    guard let ring = AnswerRing(bytes: max(AnswerRing.bytesMin, options.bytesMax / loops), seed: seed) else {
      return nil
    }
    self.ring = ring
    models = options.models
    self.counters = counters
    self.shard = shard
    keyMemory = .allocate(byteCount: Limits.cacheEntryBytesMax, alignment: 16)
  }

  deinit { keyMemory.deallocate() }

  /// Number by which a version's answers are known here.
  /// - Returns: 0 for a version whose answers are not kept: its model was not named, or they may depend on other rows.
  func register(_ model: LiveModel) -> UInt32 {
    guard models?.contains(model.model.name) ?? true, !model.compiled.plan.mayRound else { return 0 }
    // After so many versions no answer of the first ones is left.
    versions = versions == .max ? 1 : versions + 1
    return versions
  }

  /// What a call asks: its question, its rows as bytes, and their hash.
  struct Key {
    var question: AnswerRing.Question
    var bytes: UnsafeRawBufferPointer
    var hash: UInt64
  }

  /// Key of bound rows; nil: they are too long to be kept. It borrows the rows, or memory that the next key takes.
  /// - Parameter first: row of `memory` that the call begins with.
  func key(
    _ plan: Plan, _ memory: RowMemory, first: Int, rows: Int, version: UInt32, selection: UInt64
  ) -> Key? {
    guard let bytes = plan.keyBytes(of: memory, from: first, count: rows, in: keyMemory),
      bytes.count <= ring.entryBytesMax
    else { return nil }
    let question = AnswerRing.Question(version: version, rows: rows, selection: selection)
    return Key(question: question, bytes: bytes, hash: ring.hash(question, bytes))
  }

  /// The answer, if it is known. Valid until the next answer is begun.
  func find(_ key: Key) -> AnswerRing.Found? {
    let found = ring.find(key.question, key.bytes, hash: key.hash)
    (found == nil ? counters.misses : counters.hits).add(shard: shard)
    return found
  }

  /// Keeps the key of a call that is computed.
  func begin(_ key: Key, floats: Int) -> AnswerRing.Ticket {
    ring.begin(key.question, key.bytes, floats: floats, hash: key.hash)
  }

  /// Keeps the answer of such a call.
  /// - Parameter write: writes the floats of the answer.
  func finish(_ ticket: AnswerRing.Ticket, nonFinite: Int, _ write: (UnsafeMutablePointer<Float>) -> Void) {
    ring.finish(ticket, nonFinite: nonFinite, write)
    let (evictions, bytes) = (ring.evictions, ring.bytesUsed)
    if evictions != evictionsCounted { counters.evictions.add(UInt64(evictions - evictionsCounted), shard: shard) }
    if bytes != bytesCounted { counters.bytes.add(bytes - bytesCounted, shard: shard) }
    (evictionsCounted, bytesCounted) = (evictions, bytes)
  }
}
