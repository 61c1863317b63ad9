internal import NeedletailCore

/// The bytes of all tensors, each 64-byte aligned, the gaps zero, row-major little-endian.
enum WeightsSection {
  /// Lays the tensors out in their order and copies them.
  static func encode(_ tensors: [WeightTensor]) -> (places: [TensorPlace], bytes: [UInt8]) {
    var bytes: [UInt8] = []
    func append<Element: BitwiseCopyable>(_ elements: [Element]) -> Int {
      let offset = bytes.count.roundedUp(to: BundleFormat.weightsAlignment)
      bytes.append(contentsOf: repeatElement(0, count: offset - bytes.count))
      // Little-endian on every platform this product runs on.
      elements.withUnsafeBytes { bytes.append(contentsOf: $0) }
      return offset
    }
    let places = tensors.map { tensor in
      var place = TensorPlace(
        name: tensor.name, type: .float32, shape: tensor.shape, elementCount: tensor.elementCount, offset: 0,
        scalesOffset: 0)
      switch tensor.storage {
      case .float32(let elements): place.offset = append(elements)
      case .int8(let elements, let scales):
        place.type = .int8
        place.offset = append(elements)
        place.scalesOffset = append(scales)
      }
      return place
    }
    return (places, bytes)
  }

  /// Checks that the tensors fill the section without overlap.
  static func checkLayout(
    _ places: [TensorPlace], in bytes: UnsafeRawBufferPointer
  ) throws(BundleError) {
    var end = 0
    let ranges = places.flatMap { place in place.ranges.map { (range: $0, name: place.name) } }
      .sorted { ($0.range.lowerBound, $0.range.upperBound) < ($1.range.lowerBound, $1.range.upperBound) }
    for (range, name) in ranges {
      guard range.lowerBound >= end else {
        throw BundleError(
          .malformed,
          "tensor \(name.quotedForMessage): expected bytes from \(end), found bytes from \(range.lowerBound), which another tensor owns"
        )
      }
      guard range.upperBound <= bytes.count else {
        throw BundleError(
          .malformed,
          "tensor \(name.quotedForMessage): expected its end within \(bytes.count) bytes of weights, found \(range.upperBound)"
        )
      }
      try Gap.check(
        bytes, end..<range.lowerBound, lessThan: BundleFormat.weightsAlignment,
        before: "tensor \(name.quotedForMessage)")
      end = range.upperBound
    }
    guard end == bytes.count else {
      throw BundleError(.malformed, "weights: expected \(end) bytes for all tensors, found \(bytes.count)")
    }
  }

  /// Copies the tensors out of a section whose layout was checked.
  static func tensors(_ places: [TensorPlace], in bytes: UnsafeRawBufferPointer) -> [WeightTensor] {
    func copy<Element: BitwiseCopyable>(_ range: Range<Int>, of type: Element.Type) -> [Element] {
      let source = UnsafeRawBufferPointer(rebasing: bytes[range])
      return [Element](unsafeUninitializedCapacity: source.count / MemoryLayout<Element>.size) { buffer, count in
        UnsafeMutableRawBufferPointer(buffer).copyMemory(from: source)
        count = buffer.count
      }
    }
    return places.map { place in
      let ranges = place.ranges
      let storage: WeightTensor.Storage =
        place.type == .float32
        ? .float32(copy(ranges[0], of: Float.self))
        : .int8(copy(ranges[0], of: Int8.self), scales: copy(ranges[1], of: Float.self))
      return WeightTensor(name: place.name, shape: place.shape, storage: storage)
    }
  }
}

/// The bytes between two things that are aligned.
enum Gap {
  /// A gap is shorter than the alignment that made it, and zero: nothing hides in a bundle.
  static func check(
    _ bytes: UnsafeRawBufferPointer, _ range: Range<Int>, lessThan alignment: Int,
    before what: @autoclosure () -> String
  ) throws(BundleError) {
    guard range.count < alignment else {
      throw BundleError(.malformed, "gap before \(what()): expected less than \(alignment) bytes, found \(range.count)")
    }
    guard bytes[range].allSatisfy({ $0 == 0 }) else {
      throw BundleError(.malformed, "gap before \(what()): expected zeros, found other bytes")
    }
  }
}

extension Int {
  /// - Parameter alignment: a power of two.
  func roundedUp(to alignment: Int) -> Int { (self + alignment - 1) & ~(alignment - 1) }
}
