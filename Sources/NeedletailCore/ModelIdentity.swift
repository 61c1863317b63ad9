/// The name of a model, as it stands in the store, in a bundle and on the wire.
///
/// It has 1 to 128 bytes of `A–Z a–z 0–9 . _ -` and starts with a letter or a digit, so that it is safe as the name of
/// a directory, as a metric label and in a log line.
public struct ModelID: Hashable, Sendable, Comparable, CustomStringConvertible {
  /// The text of the name.
  public let name: String

  /// - Throws: `.invalidArgument` that says what is wrong with `name`.
  public init(_ name: String) throws(ServingError) {
    let bytes = name.utf8
    guard (1...Limits.modelNameBytesMax).contains(bytes.count) else {
      throw .invalidArgument(
        "model name: expected 1 to \(Limits.modelNameBytesMax) bytes, found \(bytes.count)")
    }
    guard let first = bytes.first, Self.isAlphanumeric(first), bytes.allSatisfy(Self.isAllowed) else {
      throw .invalidArgument(
        "model name: expected letters, digits, '.', '_', '-', starting with a letter or digit, found \(name.quotedForMessage)"
      )
    }
    self.name = name
  }

  public var description: String { name }

  /// Orders by the text, not by creation.
  public static func < (a: ModelID, b: ModelID) -> Bool { a.name < b.name }

  private static func isAlphanumeric(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "a")...UInt8(ascii: "z"):
      true
    default: false
    }
  }

  private static func isAllowed(_ byte: UInt8) -> Bool {
    isAlphanumeric(byte) || byte == UInt8(ascii: ".") || byte == UInt8(ascii: "_") || byte == UInt8(ascii: "-")
  }
}

/// The version of a model: a whole number from 1. A larger number is a newer version.
public struct ModelVersion: Hashable, Sendable, Comparable, CustomStringConvertible {
  /// The number, never 0.
  public let number: UInt64

  /// - Returns: nil for 0, which on the wire means "none".
  public init?(_ number: UInt64) {
    guard number > 0 else { return nil }
    self.number = number
  }

  /// Reads canonical decimal text, without sign, leading zeros or spaces: a file `007.ntb` would otherwise be a second
  /// name of version 7.
  ///
  /// - Returns: nil for every other text.
  public init?(decimal text: some StringProtocol) {
    guard let first = text.utf8.first, first != UInt8(ascii: "0"),
      text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
      let number = UInt64(text)
    else { return nil }
    self.init(number)
  }

  public var description: String { String(number) }

  public static func < (a: ModelVersion, b: ModelVersion) -> Bool { a.number < b.number }
}

/// The version of a model that a received call asks for. A label borrows the bytes of the call.
public enum ModelSelector {
  /// The version that the rollout serves now.
  case serving
  /// A version by its number, unchecked.
  case version(UInt64)
  /// The version that has a label, in UTF-8 as sent, unchecked.
  case label(UnsafeRawBufferPointer)
}

/// The place of a version on its way through the server. Raw values are those of `needletail.v1.VersionState`.
///
/// The way is `incomplete → verifying → loading → checking → warming → live → retiring → retired`; each of the first
/// five may end in `rejected` instead.
public enum VersionState: UInt8, Sendable, CaseIterable, CustomStringConvertible {
  /// The file is still growing, or shorter than its header says.
  case incomplete = 1
  /// Signature, hashes and sizes are being checked.
  case verifying = 2
  /// Sections are being decoded and the plan compiled.
  case loading = 3
  /// The golden samples run, and their answers are compared.
  case checking = 4
  /// Every batch bucket runs once, so that no request pays for a page fault.
  case warming = 5
  /// Requests may reach the version.
  case live = 6
  /// No new request reaches the version; an event loop may still hold a lease.
  case retiring = 7
  /// The version's memory was returned.
  case retired = 8
  /// The version never went live; the reason is kept.
  case rejected = 9

  /// The name on the wire, in logs and in metric labels.
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

/// A pattern of model names: `*` stands for any number of bytes, also none, and `?` for one byte.
public struct NamePattern: Hashable, Sendable, CustomStringConvertible {
  private let bytes: [UInt8]

  /// Every text is a pattern.
  public init(_ text: String) { bytes = Array(text.utf8) }

  /// Whether the pattern is a single `*`, which every name matches.
  public var isAny: Bool { bytes == [UInt8(ascii: "*")] }

  public var description: String { String(decoding: bytes, as: UTF8.self) }

  /// Whether a name as a whole matches the pattern.
  public func matches(_ name: String) -> Bool {
    var name = name
    return name.withUTF8 { matches(UnsafeRawBufferPointer($0)) }
  }

  /// Whether a name that came over the wire matches; allocates nothing.
  ///
  /// - Complexity: O(pattern × name), because it goes back to the last `*` only.
  public func matches(_ name: UnsafeRawBufferPointer) -> Bool {
    let pattern = bytes
    var p = 0
    var n = 0
    var star: (pattern: Int, name: Int)?
    while n < name.count {
      if p < pattern.count, pattern[p] == UInt8(ascii: "*") {
        star = (p, n)
        p += 1
      } else if p < pattern.count, pattern[p] == UInt8(ascii: "?") || pattern[p] == name[n] {
        p += 1
        n += 1
      } else if let last = star {
        star = (last.pattern, last.name + 1)
        p = last.pattern + 1
        n = last.name + 1
      } else {
        return false
      }
    }
    while p < pattern.count, pattern[p] == UInt8(ascii: "*") { p += 1 }
    return p == pattern.count
  }
}
