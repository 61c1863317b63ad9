internal import NeedletailCore
internal import NIOCore
public import NeedletailWire

/// Predict calls encoded once, ready to be sent any number of times under new ids.
///
/// A frame is `u32 length | 0x08, id as a varint of five bytes | the encoded call`: protobuf lets the
/// fields stand in any order and a varint be longer than needed, so that an id is patched in place.
public struct RequestFrames: Sendable {
  /// Place and meaning of one encoded call.
  public struct Frame: Sendable {
    /// Offset of the frame in ``RequestFrames/bytes``.
    public let offset: Int
    /// Bytes of the frame with its length word.
    public let count: Int
    /// Rows of the call.
    public let rows: Int
    /// Index of the model.
    public let model: Int
    /// Number of the call's first row in the model's input, for verification.
    public let firstRow: Int
  }

  /// Largest id, 2^35 − 1.
  public static let idMax: UInt64 = 1 << 35 - 1
  /// Bytes of the id field: a key and a varint of five bytes.
  private static let idFieldBytes = 6

  public private(set) var bytes: [UInt8] = []
  public private(set) var frames: [Frame] = []
  /// Indices into ``frames`` by model.
  public private(set) var framesOfModel: [[Int]] = []

  public init() {}

  /// The frame of an authentication, with an id that no call has.
  public static func authentication(key: String) throws(RequestEncoder.TooLong) -> [UInt8] {
    var buffer = ByteBuffer()
    try RequestEncoder.append(
      id: .max, timeoutMicroseconds: 0, .authenticate(key: key), frameBytesMax: Limits.frameBytesMaxUnauthenticated,
      to: &buffer)
    return Array(buffer.readableBytesView)
  }

  /// - Throws: if the call exceeds what any server accepts.
  public mutating func append(
    _ call: RequestEncoder.Predict, rows: Int, model: Int, firstRow: Int, timeoutMicroseconds: UInt32
  ) throws(RequestEncoder.TooLong) {
    var buffer = ByteBuffer()
    // Id 0 is left out by the encoder.
    try RequestEncoder.append(
      id: 0, timeoutMicroseconds: timeoutMicroseconds, .predict(call),
      frameBytesMax: Limits.frameBytesHardCap - Self.idFieldBytes, to: &buffer)
    let payload = buffer.readableBytesView.dropFirst(4)
    let offset = bytes.count
    withUnsafeBytes(of: UInt32(payload.count + Self.idFieldBytes).bigEndian) { bytes.append(contentsOf: $0) }
    bytes.append(0x08)
    bytes.append(contentsOf: repeatElement(0, count: Self.idFieldBytes - 1))
    bytes.append(contentsOf: payload)
    while framesOfModel.count <= model { framesOfModel.append([]) }
    framesOfModel[model].append(frames.count)
    frames.append(
      Frame(offset: offset, count: bytes.count - offset, rows: rows, model: model, firstRow: firstRow))
  }

  /// Writes `id` into the copy of a frame that begins at `frame`.
  @inline(__always)
  public static func patch(id: UInt64, at frame: UnsafeMutableRawPointer) {
    var rest = id
    for index in 5..<9 {
      frame.storeBytes(of: UInt8(truncatingIfNeeded: rest) | 0x80, toByteOffset: index, as: UInt8.self)
      rest >>= 7
    }
    frame.storeBytes(of: UInt8(truncatingIfNeeded: rest) & 0x7f, toByteOffset: 9, as: UInt8.self)
  }
}

/// The order in which models are asked: as often as their weights say, spread evenly.
public struct ModelMix: Sendable, Equatable {
  /// Indices of models, to be repeated.
  public let sequence: [Int]

  /// Length of the sequence; a longer one would only reproduce the weights more exactly.
  private static let lengthMax = 1000

  /// - Parameter weights: a number above 0 for each model.
  public init(weights: [Int]) {
    let sum = weights.reduce(0, +)
    // At least one turn for each.
    let weights = sum <= Self.lengthMax ? weights : weights.map { max(1, $0 * Self.lengthMax / sum) }
    let total = weights.reduce(0, +)
    // Smooth weighted round robin, as nginx does it: raise all by their weight, take the highest.
    var credit = [Int](repeating: 0, count: weights.count)
    sequence = (0..<total).map { _ in
      for index in weights.indices { credit[index] += weights[index] }
      let chosen = credit.indices.reduce(0) { credit[$1] > credit[$0] ? $1 : $0 }
      credit[chosen] -= total
      return chosen
    }
  }
}
