/// A pattern of model names: `*` stands for any run of bytes, `?` for one.
public struct NamePattern: Hashable, Sendable, CustomStringConvertible {
  private let bytes: [UInt8]

  public init(_ text: String) { bytes = Array(text.utf8) }

  /// Whether every name matches.
  public var isAny: Bool { bytes == [UInt8(ascii: "*")] }

  public var description: String { String(decoding: bytes, as: UTF8.self) }

  public func matches(_ name: String) -> Bool {
    var name = name
    return name.withUTF8 { matches(UnsafeRawBufferPointer($0)) }
  }

  /// For names as they came over the wire; allocates nothing.
  /// - Complexity: O(pattern × name); backtracks to the last star only.
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
