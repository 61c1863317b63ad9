internal import NeedletailCapture
internal import NeedletailCore

/// Outcomes of a capture, joined with its calls. Where several calls had one name, the newest before the first outcome is
/// meant; where one row has several outcomes, the first one stands.
struct CapturedOutcomes {
  private struct Name: Hashable {
    var model: String
    var key: CallKey
  }

  private struct Call: Equatable {
    var microseconds: UInt64
    var id: UInt64
  }

  private struct Entry {
    /// Time of the first outcome.
    var microseconds: UInt64
    var byRow: [Int: CapturedOutcome] = [:]
    /// The call that is meant.
    var call: Call?
  }

  private var entries: [Name: Entry] = [:]

  var isEmpty: Bool { entries.isEmpty }

  mutating func add(_ outcome: CapturedOutcome) {
    let name = Name(model: outcome.model, key: outcome.key)
    var entry = entries[name] ?? Entry(microseconds: outcome.microseconds)
    entry.microseconds = min(entry.microseconds, outcome.microseconds)
    if entry.byRow[outcome.row] == nil { entry.byRow[outcome.row] = outcome }
    entries[name] = entry
  }

  /// Considers a call as the one that outcomes are about. Once all calls were considered, ``outcomes(of:)`` knows.
  mutating func consider(_ call: CapturedCall) {
    guard !call.key.isNone, call.status == .ok else { return }
    let name = Name(model: call.model.name, key: call.key)
    guard let entry = entries[name], call.microseconds <= entry.microseconds,
      call.microseconds >= entry.call?.microseconds ?? 0
    else { return }
    entries[name]?.call = Call(microseconds: call.microseconds, id: call.id)
  }

  /// Outcomes of a call, by row.
  func outcomes(of call: CapturedCall) -> [Int: CapturedOutcome] {
    guard !call.key.isNone, let entry = entries[Name(model: call.model.name, key: call.key)],
      entry.call == Call(microseconds: call.microseconds, id: call.id)
    else { return [:] }
    return entry.byRow
  }
}
