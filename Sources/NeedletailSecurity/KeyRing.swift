internal import Synchronization

/// All grants of one key file, immutable. A reload makes a new ring.
public final class KeyRing: Sendable {
  /// Rings are told apart by this; never 0, which stands for "none".
  public let generation: UInt64
  public let grants: [Grant]
  private let digests: [(digest: KeyDigest, index: Int)]
  private let subjects: [String: Int]

  private static let generations = Atomic<UInt64>(0)

  /// - Parameter previous: what grants of the same name have used is carried over from it.
  public init(_ grants: [Grant], continuing previous: KeyRing? = nil) {
    generation = Self.generations.wrappingAdd(1, ordering: .relaxed).newValue
    let used = Dictionary(
      (previous?.grants ?? []).map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    self.grants = grants.map { $0.continuing(used[$0.name]) }
    var digests: [(KeyDigest, Int)] = []
    var subjects: [String: Int] = [:]
    for (index, grant) in grants.enumerated() {
      switch grant.credential {
      case .key(let digest): digests.append((digest, index))
      case .certificate(let subject): subjects[subject] = index
      }
    }
    self.digests = digests
    self.subjects = subjects
  }

  /// The grant of a key, revoked ones included. Looks at every key, whichever it is: the time tells
  /// nothing.
  /// - Complexity: O(keys), 3 ns each.
  public func grant(of digest: KeyDigest) -> Grant? {
    var found = -1
    for entry in digests where entry.digest.isSame(as: digest) { found = entry.index }
    return found < 0 ? nil : grants[found]
  }

  /// The grant of a certificate with these names; with several, the first that is known.
  public func grant(ofCertificate names: [String]) -> Grant? {
    for name in names {
      if let index = subjects[name] { return grants[index] }
    }
    return nil
  }
}
