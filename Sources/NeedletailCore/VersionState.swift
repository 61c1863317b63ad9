/// Where a version stands on its way through the server. Raw values are those of
/// `needletail.v1.VersionState`.
///
/// `incomplete → verifying → loading → checking → warming → live → retiring → retired`; from each of
/// the first five also `rejected`.
public enum VersionState: UInt8, Sendable, CaseIterable, CustomStringConvertible {
  /// The file is still growing, or shorter than its header says.
  case incomplete = 1
  /// Signature, hashes and sizes are being checked.
  case verifying = 2
  /// Sections are being decoded and the plan compiled.
  case loading = 3
  /// Golden samples run.
  case checking = 4
  /// Every batch bucket runs once, so that no request pays for a page fault.
  case warming = 5
  /// Requests may reach it.
  case live = 6
  /// No new request reaches it; some loop may still hold a lease.
  case retiring = 7
  /// Its memory was returned.
  case retired = 8
  /// It never went live; the reason is kept.
  case rejected = 9

  public var description: String {
    switch self {
    case .incomplete: "incomplete"
    case .verifying: "verifying"
    case .loading: "loading"
    case .checking: "checking"
    case .warming: "warming"
    case .live: "live"
    case .retiring: "retiring"
    case .retired: "retired"
    case .rejected: "rejected"
    }
  }
}
