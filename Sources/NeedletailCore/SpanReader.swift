/// Reads places in texts out of the numbers of a run, for those who write answers. It borrows numbers and texts, and
/// allocates nothing.
public struct SpanReader: BitwiseCopyable {
  /// One place.
  public struct Place {
    /// Index of the kind of an entity, 0 for an answer; −1: there is none here.
    public var kind: Int
    /// Bytes of the row's text, within it.
    public var bytes: Range<Int>
    public var score: Float
  }

  /// Places of each row in the answer: as many as the row with the most has.
  public let width: Int
  /// Whether a row has several.
  private let isList: Bool
  private let numbers: UnsafePointer<Float>
  private let columns: Int
  private let texts: UnsafeRawPointer
  private let spans: SpanOutput

  /// - Parameter values: for every output of the plan its numbers, and behind them the places of the rows' texts.
  public init(_ spans: SpanOutput, values: UnsafeBufferPointer<UnsafePointer<Float>>, rows: Int) {
    numbers = values[spans.output]
    columns = spans.columns
    texts = UnsafeRawPointer(values[values.count - 1])
    self.spans = spans
    guard case .entities(let most) = spans.layout else {
      (width, isList) = (1, false)
      return
    }
    isList = true
    var width = 0
    for row in 0..<rows {
      // Entities stand before the gaps.
      while width < most, numbers[row * columns + 4 * width] >= 0 { width += 1 }
    }
    self.width = width
  }

  /// - Parameter element: of `rows × width`.
  @inline(__always)
  public func place(_ element: Int) -> Place {
    let row = element / width
    var at = numbers + row * columns
    var kind = 0
    if isList {
      at += 4 * (element - row * width)
      kind = Int(exactly: at[0]) ?? -1
      guard kind >= 0 else { return Place(kind: -1, bytes: 0..<0, score: 0) }
      at += 1
    }
    let text = spans.text(row, in: texts)
    func byte(_ number: Float) -> Int { min(max(Int(exactly: number) ?? 0, 0), text.count) }
    var (start, end) = (byte(at[0]), byte(at[1]))
    // A token may be a part of a character; a text is made of whole ones.
    while start > 0, start < text.count, Self.isContinuation(text[start]) { start -= 1 }
    while end < text.count, Self.isContinuation(text[end]) { end += 1 }
    return Place(kind: kind, bytes: start..<max(start, end), score: at[2])
  }

  /// The text of a place, in UTF-8.
  @inline(__always)
  public func text(of place: Place, element: Int) -> UnsafeRawBufferPointer {
    guard !place.bytes.isEmpty else { return UnsafeRawBufferPointer(start: nil, count: 0) }
    return UnsafeRawBufferPointer(rebasing: spans.text(element / width, in: texts)[place.bytes])
  }

  /// Calls a body with the first character of each place, or with the one behind its last: numbers of Unicode scalars, as
  /// Python counts them. 0 where there is no place.
  ///
  /// - Complexity: O(elements + bytes of their rows' texts).
  @inline(__always)
  public func forEachCharacter(_ elements: Range<Int>, isEnd: Bool, _ body: (_ element: Int, _ character: Int) -> Void)
  {
    var (row, byte, character) = (-1, 0, 0)
    for element in elements {
      let place = place(element)
      let wanted = isEnd ? place.bytes.upperBound : place.bytes.lowerBound
      if element / width != row || wanted < byte { (row, byte, character) = (element / width, 0, 0) }
      let text = spans.text(row, in: texts)
      while byte < wanted {
        if !Self.isContinuation(text[byte]) { character += 1 }
        byte += 1
      }
      body(element, character)
    }
  }

  private static func isContinuation(_ byte: UInt8) -> Bool { byte & 0xC0 == 0x80 }
}
