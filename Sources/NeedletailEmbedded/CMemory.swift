internal import CNeedletailEmbedded

/// Memory that C reads, which lives as long as this object.
///
/// Unchecked: one thread fills it before others learn of it; then it is only read.
final class CMemory: @unchecked Sendable {
  private var blocks: [UnsafeMutableRawPointer] = []

  deinit {
    for block in blocks { block.deallocate() }
  }

  /// A copy of the bytes; C must not write to it.
  func text(_ text: String) -> ntl_text {
    var text = text
    return text.withUTF8 { bytes in
      // With a NUL behind it, so that a program which takes it for a C string stops there.
      let copy = block(of: UInt8.self, count: bytes.count + 1)
      if let start = bytes.baseAddress { copy.initialize(from: start, count: bytes.count) }
      (copy + bytes.count).initialize(to: 0)
      return ntl_text(bytes: UnsafeRawPointer(copy).assumingMemoryBound(to: CChar.self), length: bytes.count)
    }
  }

  /// A copy of the elements; nil where there are none.
  func array<Element: BitwiseCopyable>(_ elements: [Element]) -> UnsafePointer<Element>? {
    guard !elements.isEmpty else { return nil }
    let copy = block(of: Element.self, count: elements.count)
    for (index, element) in elements.enumerated() { (copy + index).initialize(to: element) }
    return UnsafePointer(copy)
  }

  private func block<Element: BitwiseCopyable>(of type: Element.Type, count: Int) -> UnsafeMutablePointer<Element> {
    let block = UnsafeMutablePointer<Element>.allocate(capacity: count)
    blocks.append(UnsafeMutableRawPointer(block))
    return block
  }
}

/// A range of a caller's memory that a C struct names, checked before Swift makes a buffer of it: a negative count would
/// end the process.
func callerBuffer<Element>(
  _ start: UnsafePointer<Element>?, count: Int, _ what: @autoclosure () -> String
) throws(EmbeddedError) -> UnsafeBufferPointer<Element> {
  guard count >= 0 else { throw .invalidArgument("\(what()): expected at most \(Int.max), found more") }
  guard count == 0 || start != nil else {
    throw .invalidArgument("\(what()): expected memory for \(count), found NULL")
  }
  return UnsafeBufferPointer(start: start, count: count)
}
