internal import CNeedletailEmbedded
internal import NeedletailCore
internal import NeedletailSystem

/// Memory for the texts of one call: the binder wants them close together, and callers have them anywhere.
///
/// It is mapped, not touched: pages that no call needs take no memory.
struct TextRoom: ~Copyable {
  private let bytes: UnsafeMutableRawPointer
  private let bytesMax: Int
  private let places: UnsafeMutablePointer<TextElements.Place>
  private let placesMax: Int
  private var usedBytes = 0
  private var usedPlaces = 0

  /// - Throws: `NTL_MEMORY`.
  init(bytesMax: Int, placesMax: Int) throws(EmbeddedError) {
    let placeBytes = max(1, placesMax) * MemoryLayout<TextElements.Place>.stride
    guard let block = PageMemory.map(bytes: bytesMax + placeBytes) else {
      throw EmbeddedError(NTL_MEMORY, "texts: expected memory for \(bytesMax + placeBytes) bytes, found none")
    }
    places = block.bindMemory(to: TextElements.Place.self, capacity: max(1, placesMax))
    bytes = block + placeBytes
    self.bytesMax = bytesMax
    self.placesMax = max(1, placesMax)
  }

  deinit {
    let placeBytes = placesMax * MemoryLayout<TextElements.Place>.stride
    PageMemory.unmap(UnsafeMutableRawPointer(places), bytes: placeBytes + bytesMax)
  }

  mutating func removeAll() { (usedBytes, usedPlaces) = (0, 0) }

  /// Copies the elements of one tensor.
  ///
  /// - Throws: `NTL_INVALID_ARGUMENT` for more than there is room for, or a text without memory.
  mutating func add(_ texts: UnsafeBufferPointer<ntl_text>) throws(EmbeddedError) -> TextElements {
    guard texts.count <= placesMax - usedPlaces else {
      throw .invalidArgument("texts: expected at most \(placesMax) in one call, found more")
    }
    let first = usedPlaces
    for text in texts {
      let (start, length) = (text.bytes, text.length)
      guard length >= 0, length <= bytesMax - usedBytes else {
        throw .invalidArgument("texts: expected at most \(bytesMax) bytes in one call, found more")
      }
      if length > 0 {
        guard let start else {
          throw .invalidArgument("texts: expected memory for \(length) bytes, found NULL")
        }
        (bytes + usedBytes).copyMemory(from: start, byteCount: length)
      }
      (places + usedPlaces).initialize(to: .init(offset: UInt32(usedBytes), count: UInt32(length)))
      usedBytes += length
      usedPlaces += 1
    }
    return TextElements(base: bytes, places: UnsafeBufferPointer(start: places + first, count: texts.count))
  }
}
