internal import Synchronization

/// All grants of one key file, immutable. A reload makes a new ring.
public final class KeyRing: Sendable {
  /// Number that distinguishes this ring from all others; never 0, which stands for "no ring".
  public let generation: UInt64
  public let grants: [Grant]
  private let digests: [(digest: KeyDigest, index: Int)]
  private let subjects: [String: Int]

  private static let generations = Atomic<UInt64>(0)

  /// - Parameter previous: Ring whose usage is carried over to grants of the same name.
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

  /// Finds the grant of a key, revoked ones included. Compares every key of the ring, so that the time of a
  /// look-up says nothing about the key.
  /// - Complexity: O(keys), 3 ns each.
  public func grant(of digest: KeyDigest) -> Grant? {
    var found = -1
    for entry in digests where entry.digest.isSame(as: digest) { found = entry.index }
    return found < 0 ? nil : grants[found]
  }

  /// Finds the grant of a certificate with these names; of several known names the first one counts.
  public func grant(ofCertificate names: [String]) -> Grant? {
    for name in names {
      if let index = subjects[name] { return grants[index] }
    }
    return nil
  }
}
