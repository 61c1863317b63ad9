/// A set of calls, as a key file names them.
public struct AccessCalls: OptionSet, Hashable, Sendable {
  public let rawValue: UInt8

  public init(rawValue: UInt8) { self.rawValue = rawValue }

  public static let predict = AccessCalls(rawValue: 1 << 0)
  public static let describe = AccessCalls(rawValue: 1 << 1)
  public static let list = AccessCalls(rawValue: 1 << 2)
  public static let health = AccessCalls(rawValue: 1 << 3)
  public static let metrics = AccessCalls(rawValue: 1 << 4)
  /// The rollout call, which changes the version that serves.
  public static let rollout = AccessCalls(rawValue: 1 << 5)

  public static let all: AccessCalls = [.predict, .describe, .list, .health, .metrics, .rollout]
  /// Calls that a key may make if its entry names none: all that change nothing.
  public static let reading = all.subtracting(.rollout)

  /// Every call with its name, in the order in which messages list them.
  public static let names: [(name: String, call: AccessCalls)] = [
    ("predict", .predict), ("describe", .describe), ("list", .list), ("health", .health), ("metrics", .metrics),
    ("rollout", .rollout),
  ]

  /// Finds a call by its name; nil: there is no such call.
  public init?(name: String) {
    guard let known = Self.names.first(where: { $0.name == name }) else { return nil }
    self = known.call
  }

  /// Names of the calls in the set.
  public var words: [String] { Self.names.filter { contains($0.call) }.map(\.name) }
}
