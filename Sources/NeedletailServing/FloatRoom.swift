/// Scratch that grows to the largest use and is kept from one to the next. Confined to its owner.
struct FloatRoom: ~Copyable {
  private(set) var floats = UnsafeMutableBufferPointer<Float>(start: nil, count: 0)
  private var wasUsed = false

  deinit { floats.deallocate() }

  /// Room for `count` floats; what lay there before is lost.
  mutating func reserve(_ count: Int) -> UnsafeMutablePointer<Float> {
    wasUsed = true
    if floats.count < max(count, 1) {
      floats.deallocate()
      floats = .allocate(capacity: max(count, 1))
    }
    guard let start = floats.baseAddress else {
      preconditionFailure("room of \(floats.count) floats without an address")
    }
    return start
  }

  /// Gives the memory back if nobody used it since the last call.
  mutating func trim() {
    if !wasUsed {
      floats.deallocate()
      floats = UnsafeMutableBufferPointer(start: nil, count: 0)
    }
    wasUsed = false
  }
}
