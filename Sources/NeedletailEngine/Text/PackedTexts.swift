/// Texts one after another in one array of bytes: a vocabulary has hundreds of thousands.
///
/// The bytes are those that were given, which need not be UTF-8; ``Tokenizer`` checks that they are.
public struct PackedTexts: Equatable, Sendable {
  public private(set) var bytes: [UInt8] = []
  /// Text i is the bytes from `ends[i - 1]`, or 0, to `ends[i]`. Never descends.
  public private(set) var ends: [UInt32] = []

  public init() {}

  public init(_ texts: some Sequence<String>) {
    for text in texts { append(text) }
  }

  /// Texts from their bytes and their lengths; nil where the lengths do not add up to the bytes.
  public init?(bytes: [UInt8], lengths: some Sequence<UInt32>) {
    var end: UInt64 = 0
    for length in lengths {
      end += UInt64(length)
      guard end <= UInt64(bytes.count), let place = UInt32(exactly: end) else { return nil }
      ends.append(place)
    }
    guard end == UInt64(bytes.count) else { return nil }
    self.bytes = bytes
  }

  public var count: Int { ends.count }

  /// Bytes of each text.
  public var lengths: [UInt32] { ends.indices.map { ends[$0] - start(of: $0) } }

  /// A text; what is no UTF-8 is replaced.
  public subscript(index: Int) -> String {
    String(decoding: bytes[Int(start(of: index))..<Int(ends[index])], as: UTF8.self)
  }

  /// All bytes together must stay below 4 GiB, which a file of `Limits.foreignFileBytesMax` cannot exceed.
  public mutating func append(_ text: String) {
    bytes.append(contentsOf: text.utf8)
    ends.append(UInt32(bytes.count))
  }

  private func start(of index: Int) -> UInt32 { index == 0 ? 0 : ends[index - 1] }
}
