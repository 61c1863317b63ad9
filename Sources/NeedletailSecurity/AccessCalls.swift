/// A set of calls, as a key file names them.
public struct AccessCalls: OptionSet, Hashable, Sendable {
  public let rawValue: UInt8

  public init(rawValue: UInt8) { self.rawValue = rawValue }

  public static let predict = AccessCalls(rawValue: 1 << 0)
  public static let describe = AccessCalls(rawValue: 1 << 1)
  public static let list = AccessCalls(rawValue: 1 << 2)
  public static let health = AccessCalls(rawValue: 1 << 3)
  public static let metrics = AccessCalls(rawValue: 1 << 4)
  /// Changes what a model serves.
  public static let rollout = AccessCalls(rawValue: 1 << 5)

  public static let all: AccessCalls = [.predict, .describe, .list, .health, .metrics, .rollout]
  /// What a key may do whose entry names no calls: everything that changes nothing.
  public static let reading = all.subtracting(.rollout)

  /// In the order in which they are shown.
  public static let names: [(name: String, call: AccessCalls)] = [
    ("predict", .predict), ("describe", .describe), ("list", .list), ("health", .health), ("metrics", .metrics),
    ("rollout", .rollout),
  ]

  /// Nil if there is no call of this name.
  public init?(name: String) {
    guard let known = Self.names.first(where: { $0.name == name }) else { return nil }
    self = known.call
  }

  /// The names of the calls in the set.
  public var words: [String] { Self.names.filter { contains($0.call) }.map(\.name) }
}
