/// Who goes first where calls have to wait. Raw values are those of `needletail.v1.Priority`.
public enum CallPriority: UInt8, Sendable, CaseIterable {
  /// Somebody waits for the answer.
  case interactive = 0
  /// Nobody does: it runs when no interactive call of its model waits, and is refused first.
  case bulk = 1
}
