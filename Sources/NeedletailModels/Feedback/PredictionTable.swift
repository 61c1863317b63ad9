internal import NeedletailCore

/// The predictions of one model that are remembered, the oldest first, found by the names of their calls. Bounded by their
/// number and by their bytes: the oldest are forgotten. A state machine without I/O.
struct PredictionTable {
  /// A remembered call.
  struct Entry {
    var key: CallKey
    /// Number of the version that answered, see ``FeedbackBook``.
    var source: Int
    /// Whether the caller named the version or its label.
    var isNamed: Bool
    /// Arrival of the call.
    var time: Instant
    var rows: Int
    /// Values of the groups' features, row after row, and behind them what the answers say.
    var floats: [Float]
    /// Digest of what the version was chosen by.
    var unit: UInt64 = 0
    /// Truth of each row, NaN where it is not known; empty: of none.
    var truths: [Double] = []

    /// Bytes of an entry beside its numbers: itself, its name in the index, and what lists leave unused as they grow. In
    /// resident memory, a full table that had forgotten two thirds took 282 of them for each entry (28 November 2026).
    static let fixedBytes = 280

    /// Bytes that the entry counts for.
    var bytes: Int { Self.fixedBytes + 4 * floats.count + 8 * rows }
  }

  private let countMax: Int
  private var bytesMax: Int
  /// Entries, of which the first ``forgotten`` are gone.
  private var entries: [Entry] = []
  private var forgotten = 0
  /// Number of the first entry.
  private var base = 0
  /// Number of the newest entry of each name.
  private var byKey: [CallKey: Int] = [:]
  private(set) var bytes = 0

  init(countMax: Int, bytesMax: Int) {
    self.countMax = countMax
    self.bytesMax = bytesMax
  }

  var count: Int { entries.count - forgotten }

  /// Remembers a call. A name that is there already stands for the newest call from then on.
  /// - Complexity: O(1), amortised.
  mutating func remember(_ entry: Entry) {
    while count > 0, count >= countMax || bytes + entry.bytes > bytesMax { forgetOldest() }
    byKey[entry.key] = base + entries.count
    entries.append(entry)
    bytes += entry.bytes
  }

  /// Forgets calls that arrived before a time.
  mutating func forget(before time: Instant) {
    while count > 0, entries[forgotten].time < time { forgetOldest() }
  }

  /// Forgets all calls of a version.
  mutating func forget(source: Int) { keep { $0.source != source } }

  /// Takes another bound of the bytes, and forgets the oldest calls beyond it.
  mutating func limit(bytes: Int) {
    bytesMax = bytes
    keep { _ in true }
  }

  /// Forgets all other calls, and gives back the memory that they took.
  private mutating func keep(_ isKept: (Entry) -> Bool) {
    let kept = entries[forgotten...].filter(isKept)
    self = PredictionTable(countMax: countMax, bytesMax: bytesMax)
    for entry in kept { remember(entry) }
  }

  private mutating func forgetOldest() {
    let entry = entries[forgotten]
    if byKey[entry.key] == base + forgotten { byKey[entry.key] = nil }
    bytes -= entry.bytes
    entries[forgotten].floats = []
    entries[forgotten].truths = []
    forgotten += 1
    guard forgotten > 64, forgotten > entries.count / 2 else { return }
    entries.removeFirst(forgotten)
    base += forgotten
    forgotten = 0
  }

  /// Place of the newest call of a name, which is good until the next change; nil if none is remembered.
  func place(of key: CallKey) -> Int? { byKey[key].map { $0 - base } }

  subscript(place: Int) -> Entry {
    _read { yield entries[place] }
    _modify { yield &entries[place] }
  }
}
