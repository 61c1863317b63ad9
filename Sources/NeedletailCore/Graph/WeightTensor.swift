/// Weights in their canonical form, row-major, never packed for one instruction set.
public struct WeightTensor: Equatable, Sendable {
  public enum Storage: Equatable, Sendable {
    case float32([Float])
    /// Symmetric, −127…127; `scales` holds one factor per row (output channel): w = q · scale.
    case int8([Int8], scales: [Float])
  }

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
    case .int8(let elements, _): elements.count
    }
  }
}
