internal import CNeedletailProto
internal import NeedletailCore
internal import NeedletailEngine
internal import NeedletailSystem

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
        name: tensor.name, element: .float32, shape: tensor.shape, elementCount: tensor.elementCount, offset: 0,
        scalesOffset: 0)
      switch tensor.storage {
      case .float32(let elements): place.offset = append(elements)
      case .float16(let elements):
        place.element = .float16
        place.offset = append(elements)
      case .int32(let elements):
        place.element = .int32
        place.offset = append(elements)
      case .int8(let elements, let scales):
        place.element = .int8
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
        let target = UnsafeMutableRawBufferPointer(buffer)
        Pieces.forEach(source.count) { range in
          UnsafeMutableRawBufferPointer(rebasing: target[range])
            .copyMemory(from: UnsafeRawBufferPointer(rebasing: source[range]))
        }
        count = buffer.count
      }
    }
    return places.map { place in
      let ranges = place.ranges
      let storage: WeightTensor.Storage =
        switch place.element {
        case .float32: .float32(copy(ranges[0], of: Float.self))
        case .float16: .float16(copy(ranges[0], of: UInt16.self))
        case .int32: .int32(copy(ranges[0], of: Int32.self))
        case .int8: .int8(copy(ranges[0], of: Int8.self), scales: copy(ranges[1], of: Float.self))
        }
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

/// Type, shape and place of one tensor in the weights section.
struct TensorPlace: Equatable {
  /// Type of the numbers that the section holds of a tensor.
  enum Element: Equatable {
    case float32, float16, int8, int32

    var bytes: Int {
      switch self {
      case .float32, .int32: 4
      case .float16: 2
      case .int8: 1
      }
    }
  }

  var name: String
  var element: Element
  var shape: [Int]
  var elementCount: Int
  /// Bytes from the start of the section; a multiple of 64.
  var offset: Int
  /// Bytes from the start of the section to the scales of an int8 tensor, one fp32 a row (first dimension); 0 for other
  /// tensors.
  var scalesOffset: Int

  var scaleCount: Int { element == .int8 ? shape.first ?? 0 : 0 }

  /// The bytes the tensor occupies, in the section.
  ///
  /// Offsets and counts were bounded by 2⁴⁸ when the place was read, so the sums fit.
  var ranges: [Range<Int>] {
    let data = offset..<offset + elementCount * element.bytes
    guard element == .int8 else { return [data] }
    return [data, scalesOffset..<scalesOffset + scaleCount * MemoryLayout<Float>.size]
  }
}

extension TensorPlace {
  /// Far above any file, far below overflow.
  private static let bytesMax = 1 << 48

  init(_ message: Needletail__V1__WeightTensor) throws(BundleError) {
    let name = MessageValues.text(message.name)
    let field = "tensor \(name.quotedForMessage)"
    self.name = name
    switch (message.type, message.half != 0) {
    case (NEEDLETAIL__V1__DATA_TYPE__FLOAT32, false): element = .float32
    case (NEEDLETAIL__V1__DATA_TYPE__FLOAT32, true): element = .float16
    case (NEEDLETAIL__V1__DATA_TYPE__INT8, false): element = .int8
    case (NEEDLETAIL__V1__DATA_TYPE__INT32, false): element = .int32
    default:
      throw BundleError(
        .unsupported,
        "\(field): type: expected FLOAT32 (1), which may be stored by halves, INT8 (3) or INT32 (5), found \(message.type.rawValue)"
      )
    }
    try Bounds.check(message.n_shape, 1...WeightTensor.rankMax, "\(field): rank")
    shape = []
    elementCount = 1
    for dimension in MessageValues.array(message.shape, message.n_shape) {
      guard let length = Int(exactly: dimension), length > 0,
        case let (product, overflow) = elementCount.multipliedReportingOverflow(by: length), !overflow,
        product <= Self.bytesMax
      else {
        throw BundleError(
          .invalidGraph,
          "\(field): shape: expected lengths from 1 with at most \(Self.bytesMax) elements, found \(dimension) at dimension \(shape.count)"
        )
      }
      shape.append(length)
      elementCount = product
    }
    offset = try Self.offset(message.offset, "\(field): offset")
    scalesOffset = try Self.offset(message.scales_offset, "\(field): scales offset")
    guard element == .int8 || scalesOffset == 0 else {
      throw BundleError(.malformed, "\(field): scales offset: expected 0 for all but INT8, found \(scalesOffset)")
    }
  }

  private static func offset(_ value: UInt64, _ field: String) throws(BundleError) -> Int {
    guard let offset = Int(exactly: value), offset <= bytesMax, offset % BundleFormat.weightsAlignment == 0 else {
      throw BundleError(
        .malformed, "\(field): expected a multiple of \(BundleFormat.weightsAlignment), found \(value)")
    }
    return offset
  }

  func message(in memory: MessageBuilder) -> UnsafeMutablePointer<Needletail__V1__WeightTensor>? {
    memory.build(needletail__v1__weight_tensor__init) {
      $0.name = memory.text(name)
      $0.type =
        switch element {
        case .float32, .float16: NEEDLETAIL__V1__DATA_TYPE__FLOAT32
        case .int8: NEEDLETAIL__V1__DATA_TYPE__INT8
        case .int32: NEEDLETAIL__V1__DATA_TYPE__INT32
        }
      $0.half = element == .float16 ? 1 : 0
      $0.n_shape = shape.count
      $0.shape = memory.array(shape.map { UInt64($0) })
      $0.offset = UInt64(offset)
      $0.scales_offset = UInt64(scalesOffset)
    }
  }
}
