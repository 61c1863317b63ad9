extension SplitMix64 {
  /// One to four bits flipped, bytes replaced, inserted or removed; never to nothing.
  public mutating func mutate(_ bytes: inout [UInt8]) {
    for _ in 0..<Int.random(in: 1...4, using: &self) {
      let position = Int.random(in: 0..<bytes.count, using: &self)
      switch Int.random(in: 0..<4, using: &self) {
      case 0: bytes[position] ^= 1 << UInt8.random(in: 0..<8, using: &self)
      case 1: bytes[position] = UInt8.random(in: 0...255, using: &self)
      case 2: bytes.insert(UInt8.random(in: 0...255, using: &self), at: position)
      default: if bytes.count > 1 { bytes.remove(at: position) }
      }
    }
  }
}
