internal import CNeedletailProto
internal import NeedletailCore

/// Type, shape and place of one tensor in the weights section.
struct TensorPlace: Equatable {
  var name: String
  /// `.float32` or `.int8`.
  var type: DataType
  var shape: [Int]
  var elementCount: Int
  /// Bytes from the start of the section; a multiple of 64.
  var offset: Int
  /// Of one fp32 scale a row; 0 for fp32 tensors.
  var scalesOffset: Int

  /// Scales of an int8 tensor: one a row.
  var scaleCount: Int { type == .int8 ? shape.first ?? 0 : 0 }

  /// The bytes the tensor occupies, in the section.
  ///
  /// Offsets and counts were bounded by 2⁴⁸ when the place was read, so the sums fit.
  var ranges: [Range<Int>] {
    let data = offset..<offset + elementCount * type.elementBytes
    guard type == .int8 else { return [data] }
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
    guard let raw = UInt8(exactly: message.type.rawValue), let type = DataType(rawValue: raw),
      type == .float32 || type == .int8
    else {
      throw BundleError(
        .unsupported, "\(field): type: expected FLOAT32 (1) or INT8 (3), found \(message.type.rawValue)")
    }
    self.type = type
    try Bounds.check(message.n_shape, 1...Limits.tensorRankMax, "\(field): rank")
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
    guard type == .int8 || scalesOffset == 0 else {
      throw BundleError(.malformed, "\(field): scales offset: expected 0 for FLOAT32, found \(scalesOffset)")
    }
  }

  private static func offset(_ value: UInt64, _ field: String) throws(BundleError) -> Int {
    guard let offset = Int(exactly: value), offset <= bytesMax, offset % BundleFormat.weightsAlignment == 0 else {
      throw BundleError(
        .malformed, "\(field): expected a multiple of \(BundleFormat.weightsAlignment), found \(value)")
    }
    return offset
  }
}
