/// Digest of the name that a caller gave a call, by which outcomes find it: 128 bits that stand for the name wherever it
/// would be kept. Plain bits, so that moving calls about costs nothing.
public struct CallKey: Hashable, Sendable, BitwiseCopyable {
  /// Bytes of a digest.
  public static let bytes = 16
  /// The call has no name.
  public static let none = CallKey(low: 0, high: 0)

  /// Bytes 0 to 7, little-endian.
  public var low: UInt64
  /// Bytes 8 to 15, little-endian.
  public var high: UInt64

  @inlinable public init(low: UInt64, high: UInt64) {
    self.low = low
    self.high = high
  }

  @inlinable public var isNone: Bool { low == 0 && high == 0 }

  /// 32 hexadecimal digits.
  public var text: String {
    [low, high].map { word in
      let digits = String(word.byteSwapped, radix: 16)
      return String(repeating: "0", count: 16 - digits.utf8.count) + digits
    }.joined()
  }
}

/// Makes ``CallKey``s: BLAKE2s with 16 bytes of digest (RFC 7693), which every language has, so that others can find
/// their calls: `hashlib.blake2s(name, digest_size=16, key=secret)`. Anyone may use it; it allocates nothing.
public struct CallKeyHasher: Sendable {
  /// State before the first byte of a name.
  private let start: SIMD8<UInt32>
  /// Bytes that ``start`` has taken.
  private let startBytes: UInt32

  private static let initial = SIMD8<UInt32>(
    0x6A09_E667, 0xBB67_AE85, 0x3C6E_F372, 0xA54F_F53A, 0x510E_527F, 0x9B05_688C, 0x1F83_D9AB, 0x5BE0_CD19)
  private static let blockBytes = 64

  /// - Parameter secret: key of the digests, up to 32 bytes: nobody without it can try names. Empty: there is none.
  public init(secret: [UInt8] = []) {
    precondition(secret.count <= 32, "a key of BLAKE2s has at most 32 bytes")
    var state = Self.initial
    state[0] ^= 0x0101_0000 ^ UInt32(secret.count) << 8 ^ UInt32(CallKey.bytes)
    if secret.isEmpty {
      startBytes = 0
    } else {
      let block = secret + [UInt8](repeating: 0, count: Self.blockBytes - secret.count)
      block.withUnsafeBytes { bytes in
        guard let base = bytes.baseAddress else { return }
        Self.compress(&state, base, total: UInt32(Self.blockBytes), isLast: false)
      }
      startBytes = UInt32(Self.blockBytes)
    }
    start = state
  }

  /// Digest of a name; ``CallKey/none`` for an empty one.
  /// - Complexity: O(bytes of the name), some 0.2 µs for each 64 of them.
  public func key(of name: UnsafeRawBufferPointer) -> CallKey {
    guard var next = name.baseAddress, !name.isEmpty else { return .none }
    var state = start
    var total = startBytes
    var left = name.count
    while left > Self.blockBytes {
      total &+= UInt32(Self.blockBytes)
      Self.compress(&state, next, total: total, isLast: false)
      next += Self.blockBytes
      left -= Self.blockBytes
    }
    total &+= UInt32(left)
    withUnsafeTemporaryAllocation(byteCount: Self.blockBytes, alignment: 8) { block in
      guard let base = block.baseAddress else { return }
      base.initializeMemory(as: UInt8.self, repeating: 0, count: Self.blockBytes)
      base.copyMemory(from: next, byteCount: left)
      Self.compress(&state, UnsafeRawPointer(base), total: total, isLast: true)
    }
    return CallKey(
      low: UInt64(state[0]) | UInt64(state[1]) << 32, high: UInt64(state[2]) | UInt64(state[3]) << 32)
  }

  /// Digest of a name as text.
  public func key(of name: String) -> CallKey {
    var name = name
    return name.withUTF8 { key(of: UnsafeRawBufferPointer($0)) }
  }

  /// Words of a block in the order in which each round takes them (RFC 7693, 2.7).
  private static let order: [[UInt8]] = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4], [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
    [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13], [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
    [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11], [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
    [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5], [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
  ]
  private static let words: [UInt8] = order.flatMap { $0 }

  /// Compresses a block into a state (RFC 7693, 3.2).
  ///
  /// One number each for the sixteen words of the working vector: they stay in registers. With four vectors of four words,
  /// shuffled between the half rounds, a block takes two to three times as long.
  private static func compress(
    _ state: inout SIMD8<UInt32>, _ block: UnsafeRawPointer, total: UInt32, isLast: Bool
  ) {
    var (v0, v1, v2, v3) = (state[0], state[1], state[2], state[3])
    var (v4, v5, v6, v7) = (state[4], state[5], state[6], state[7])
    var (v8, v9, v10, v11) = (initial[0], initial[1], initial[2], initial[3])
    var (v12, v13) = (initial[4] ^ total, initial[5])
    var (v14, v15) = (isLast ? ~initial[6] : initial[6], initial[7])
    words.withUnsafeBufferPointer { words in
      guard var order = words.baseAddress else { return }
      for _ in 0..<10 {
        mix(&v0, &v4, &v8, &v12, word(block, order[0]), word(block, order[1]))
        mix(&v1, &v5, &v9, &v13, word(block, order[2]), word(block, order[3]))
        mix(&v2, &v6, &v10, &v14, word(block, order[4]), word(block, order[5]))
        mix(&v3, &v7, &v11, &v15, word(block, order[6]), word(block, order[7]))
        mix(&v0, &v5, &v10, &v15, word(block, order[8]), word(block, order[9]))
        mix(&v1, &v6, &v11, &v12, word(block, order[10]), word(block, order[11]))
        mix(&v2, &v7, &v8, &v13, word(block, order[12]), word(block, order[13]))
        mix(&v3, &v4, &v9, &v14, word(block, order[14]), word(block, order[15]))
        order += 16
      }
    }
    state ^= SIMD8(v0 ^ v8, v1 ^ v9, v2 ^ v10, v3 ^ v11, v4 ^ v12, v5 ^ v13, v6 ^ v14, v7 ^ v15)
  }

  /// Word of a block.
  @inline(__always)
  private static func word(_ block: UnsafeRawPointer, _ index: UInt8) -> UInt32 {
    UInt32(littleEndian: block.loadUnaligned(fromByteOffset: 4 * Int(index), as: UInt32.self))
  }

  /// The function G (RFC 7693, 3.1).
  @inline(__always)
  private static func mix(
    _ a: inout UInt32, _ b: inout UInt32, _ c: inout UInt32, _ d: inout UInt32, _ x: UInt32, _ y: UInt32
  ) {
    a = a &+ b &+ x
    d = rotated(d ^ a, 16)
    c = c &+ d
    b = rotated(b ^ c, 12)
    a = a &+ b &+ y
    d = rotated(d ^ a, 8)
    c = c &+ d
    b = rotated(b ^ c, 7)
  }

  @inline(__always)
  private static func rotated(_ value: UInt32, _ bits: UInt32) -> UInt32 { value &>> bits | value &<< (32 - bits) }
}
