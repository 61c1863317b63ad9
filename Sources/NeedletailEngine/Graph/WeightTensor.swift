internal import NeedletailCore

/// Weights in their canonical form, row-major, never packed for one instruction set.
public struct WeightTensor: Equatable, Sendable {
  public enum Storage: Equatable, Sendable {
    case float32([Float])
    /// IEEE 754 binary16, as bit patterns: half the bytes in a bundle, widened to fp32 when a plan is compiled.
    case float16([UInt16])
    /// Symmetric, −127…127; `scales` holds one factor per row (first dimension, output channel): w = q · scale.
    case int8([Int8], scales: [Float])
    case int32([Int32])
  }

  public static let rankMax = 5

  public var name: String
  public var shape: [Int]
  public var storage: Storage

  public init(name: String, shape: [Int], storage: Storage) {
    self.name = name
    self.shape = shape
    self.storage = storage
  }

  public var elementCount: Int {
    switch storage {
    case .float32(let elements): elements.count
    case .float16(let elements): elements.count
    case .int8(let elements, _): elements.count
    case .int32(let elements): elements.count
    }
  }

  /// Bytes that a bundle stores, before compression and without gaps.
  public var storedBytes: Int {
    switch storage {
    case .float32(let elements): 4 * elements.count
    case .float16(let elements): 2 * elements.count
    case .int8(let elements, let scales): elements.count + 4 * scales.count
    case .int32(let elements): 4 * elements.count
    }
  }

  public var isInt8: Bool {
    if case .int8 = storage { true } else { false }
  }

  /// The elements as fp32, binary16 widened exactly, int8 multiplied by its scales; nil for int32, which are no
  /// weights.
  public var floats: [Float]? {
    switch storage {
    case .float32(let elements): return elements
    case .float16(let elements): return elements.map(Self.widened)
    case .int8(let elements, let scales):
      let columns = max(1, elements.count / max(1, scales.count))
      return [Float](unsafeUninitializedCapacity: elements.count) { floats, count in
        for index in elements.indices { floats[index] = Float(elements[index]) * scales[index / columns] }
        count = elements.count
      }
    case .int32: return nil
    }
  }

  /// A binary16 as fp32, exactly: IEEE 754-2019, 3.4. Written out because Swift's `Float16` does not exist on all
  /// platforms.
  static func widened(_ bits: UInt16) -> Float {
    let sign = UInt32(bits & 0x8000) << 16
    let exponent = UInt32(bits >> 10 & 0x1f)
    let fraction = UInt32(bits & 0x3ff)
    switch exponent {
    case 0:
      let magnitude = Float(fraction) * 0x1p-24
      return sign == 0 ? magnitude : -magnitude
    case 31: return Float(bitPattern: sign | 0x7f80_0000 | fraction << 13)
    default: return Float(bitPattern: sign | (exponent + 112) << 23 | fraction << 13)
    }
  }

  /// What is wrong with the tensor by itself, in one sentence; nil if nothing is.
  var fault: String? {
    let name = "tensor \(self.name.quotedForMessage)"
    guard (1...Self.rankMax).contains(shape.count), shape.allSatisfy({ $0 > 0 }) else {
      return "\(name): expected a shape of 1 to \(Self.rankMax) positive sizes, found \(shape)"
    }
    var product = 1
    for size in shape {
      let (next, overflow) = product.multipliedReportingOverflow(by: size)
      guard !overflow else { return "\(name): shape \(shape) overflows" }
      product = next
    }
    guard product == elementCount else {
      return "\(name): expected \(product) elements for shape \(shape), found \(elementCount)"
    }
    switch storage {
    case .float32(let elements):
      guard let index = elements.firstIndex(where: { !$0.isFinite }) else { return nil }
      return "\(name), element \(index): expected a finite number, found \(elements[index])"
    case .float16(let elements):
      guard let index = elements.firstIndex(where: { $0 & 0x7c00 == 0x7c00 }) else { return nil }
      return "\(name), element \(index): expected a finite number, found \(Self.widened(elements[index]))"
    case .int8(let elements, let scales):
      guard shape.count >= 2, scales.count == shape[0] else {
        return "\(name): expected a matrix and one scale a row, found shape \(shape), \(scales.count) scales"
      }
      if let index = scales.firstIndex(where: { !($0.isFinite && $0 > 0) }) {
        return "\(name), scale \(index): expected a finite number above 0, found \(scales[index])"
      }
      // Symmetric quantisation: kernels rely on the range when they add products in pairs.
      guard let index = elements.firstIndex(of: -128) else { return nil }
      return "\(name), element \(index): expected −127 to 127, found −128"
    case .int32: return nil
    }
  }
}

extension ModelGraph {
  /// This graph with all int8 weights as fp32.
  var dequantised: ModelGraph {
    var graph = self
    for index in graph.tensors.indices where graph.tensors[index].isInt8 {
      if let floats = graph.tensors[index].floats { graph.tensors[index].storage = .float32(floats) }
    }
    return graph
  }
}
