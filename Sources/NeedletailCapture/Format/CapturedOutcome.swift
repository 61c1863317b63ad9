public import NeedletailCore

/// What became of one row of a call, as somebody reported it. It stands beside the calls, and finds its call by the digest
/// of the call's name.
public struct CapturedOutcome: Sendable, Equatable {
  public enum Truth: Sendable, Equatable {
    case label(String)
    case number(Double)
  }

  /// First byte of its record.
  static let kind: UInt8 = 4
  private static let labelKind: UInt8 = 1
  private static let numberKind: UInt8 = 2

  public var model: String
  /// Version whose prediction it was joined with; 0: the server did not know the prediction any more.
  public var version: UInt64
  public var key: CallKey
  /// Row of the call, from 0.
  public var row: Int
  public var truth: Truth
  /// Time at which it was reported, in microseconds since 1970 (UTC).
  public var microseconds: UInt64
  /// Whether it counts in the server's figures; else it was too late, or its prediction was not remembered.
  public var isJoined: Bool

  public init(
    model: String, version: UInt64, key: CallKey, row: Int, truth: Truth, microseconds: UInt64, isJoined: Bool
  ) {
    self.model = model
    self.version = version
    self.key = key
    self.row = row
    self.truth = truth
    self.microseconds = microseconds
    self.isJoined = isJoined
  }

  var encoded: [UInt8] {
    var bytes: [UInt8] = [Self.kind, isJoined ? 1 : 0]
    switch truth {
    case .label: bytes += [Self.labelKind, 0]
    case .number: bytes += [Self.numberKind, 0]
    }
    bytes.append(littleEndian: UInt32(clamping: row))
    bytes.append(littleEndian: microseconds)
    bytes.append(littleEndian: version)
    bytes.append(littleEndian: key.low)
    bytes.append(littleEndian: key.high)
    bytes.append(short: model)
    switch truth {
    case .label(let label): bytes.append(short: label)
    case .number(let number): bytes.append(littleEndian: number.bitPattern)
    }
    return bytes
  }

  /// - Throws: `.damaged`.
  init(reading record: UnsafeRawBufferPointer) throws(CaptureError) {
    var cursor = RecordCursor(record)
    guard try cursor.integer(UInt8.self, "kind") == Self.kind else { throw cursor.fault("the record of an outcome") }
    isJoined = try cursor.integer(UInt8.self, "joined") != 0
    let kind = try cursor.integer(UInt8.self, "truth")
    _ = try cursor.integer(UInt8.self, "padding")
    row = Int(try cursor.integer(UInt32.self, "row"))
    microseconds = try cursor.integer(UInt64.self, "time")
    version = try cursor.integer(UInt64.self, "version")
    key = CallKey(low: try cursor.integer(UInt64.self, "key"), high: try cursor.integer(UInt64.self, "key"))
    model = try cursor.text("model")
    switch kind {
    case Self.labelKind: truth = .label(try cursor.text("label"))
    case Self.numberKind: truth = .number(Double(bitPattern: try cursor.integer(UInt64.self, "number")))
    default: throw cursor.fault("a label or a number")
    }
    guard cursor.left == 0 else { throw cursor.fault("the end of the record") }
  }
}
