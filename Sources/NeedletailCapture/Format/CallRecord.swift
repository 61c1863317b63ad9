public import NeedletailCore

/// First bytes of the record of a call, which its request and its answer follow.
///
/// Event loops write records into memory that they have, and allocate nothing.
public struct CallRecordHead: Sendable {
  /// Bytes of the head of a call without a name.
  public static let bytesMin = 56
  /// Bytes of the longest head.
  public static let bytesMax = bytesMin + CallKey.bytes
  /// First byte of a record of a call without a name.
  static let kind: UInt8 = 1
  /// First byte of a record of a call with a name, whose digest ends the head.
  static let namedKind: UInt8 = 3

  public var status: StatusCode
  public var reasons: CaptureReasons
  /// Number of the model that the block describes.
  public var source: UInt32
  /// Time of arrival: microseconds since 1970 (UTC) in a segment; nanoseconds of the monotonic clock before.
  public var time: UInt64
  public var id: UInt64
  public var queueMicroseconds: UInt32
  public var computeMicroseconds: UInt32
  public var batchRows: UInt32
  public var rows: UInt32
  /// Outputs that were asked for, one bit each.
  public var selection: UInt64
  /// Tensors of the request.
  public var tensors: UInt32
  /// Floats of the answer: for each output in `selection` its rows × columns.
  public var floats: UInt32
  /// Digest of the name that the caller gave the call.
  public var key: CallKey

  /// Bytes of this head.
  public var bytes: Int { key.isNone ? Self.bytesMin : Self.bytesMax }

  public init(
    status: StatusCode, reasons: CaptureReasons, source: UInt32, time: UInt64, id: UInt64, queueMicroseconds: UInt32,
    computeMicroseconds: UInt32, batchRows: UInt32, rows: UInt32, selection: UInt64, tensors: UInt32, floats: UInt32,
    key: CallKey = .none
  ) {
    self.status = status
    self.reasons = reasons
    self.source = source
    self.time = time
    self.id = id
    self.queueMicroseconds = queueMicroseconds
    self.computeMicroseconds = computeMicroseconds
    self.batchRows = batchRows
    self.rows = rows
    self.selection = selection
    self.tensors = tensors
    self.floats = floats
    self.key = key
  }

  /// - Parameter target: memory for ``bytes``.
  public func write(to target: UnsafeMutableRawPointer) {
    target.storeBytes(of: key.isNone ? Self.kind : Self.namedKind, as: UInt8.self)
    target.storeBytes(of: status.rawValue, toByteOffset: 1, as: UInt8.self)
    target.storeBytes(of: reasons.rawValue.littleEndian, toByteOffset: 2, as: UInt16.self)
    target.storeBytes(of: source.littleEndian, toByteOffset: 4, as: UInt32.self)
    target.storeBytes(of: time.littleEndian, toByteOffset: 8, as: UInt64.self)
    target.storeBytes(of: id.littleEndian, toByteOffset: 16, as: UInt64.self)
    target.storeBytes(of: queueMicroseconds.littleEndian, toByteOffset: 24, as: UInt32.self)
    target.storeBytes(of: computeMicroseconds.littleEndian, toByteOffset: 28, as: UInt32.self)
    target.storeBytes(of: batchRows.littleEndian, toByteOffset: 32, as: UInt32.self)
    target.storeBytes(of: rows.littleEndian, toByteOffset: 36, as: UInt32.self)
    target.storeBytes(of: selection.littleEndian, toByteOffset: 40, as: UInt64.self)
    target.storeBytes(of: tensors.littleEndian, toByteOffset: 48, as: UInt32.self)
    target.storeBytes(of: floats.littleEndian, toByteOffset: 52, as: UInt32.self)
    guard !key.isNone else { return }
    target.storeBytes(of: key.low.littleEndian, toByteOffset: 56, as: UInt64.self)
    target.storeBytes(of: key.high.littleEndian, toByteOffset: 64, as: UInt64.self)
  }

  /// Reads a head.
  /// - Throws: `.damaged` for another record, or a status that does not exist.
  public init(reading record: UnsafeRawBufferPointer) throws(CaptureError) {
    var cursor = RecordCursor(record)
    let kind = try cursor.integer(UInt8.self, "kind")
    guard kind == Self.kind || kind == Self.namedKind else { throw cursor.fault("the record of a call") }
    guard let status = StatusCode(rawValue: try cursor.integer(UInt8.self, "status")) else {
      throw cursor.fault("a status")
    }
    self.status = status
    reasons = CaptureReasons(rawValue: try cursor.integer(UInt16.self, "reasons"))
    source = try cursor.integer(UInt32.self, "source")
    time = try cursor.integer(UInt64.self, "time")
    id = try cursor.integer(UInt64.self, "id")
    queueMicroseconds = try cursor.integer(UInt32.self, "queue")
    computeMicroseconds = try cursor.integer(UInt32.self, "compute")
    batchRows = try cursor.integer(UInt32.self, "batch")
    rows = try cursor.integer(UInt32.self, "rows")
    selection = try cursor.integer(UInt64.self, "selection")
    tensors = try cursor.integer(UInt32.self, "tensors")
    floats = try cursor.integer(UInt32.self, "floats")
    key = .none
    guard kind == Self.namedKind else { return }
    key = CallKey(low: try cursor.integer(UInt64.self, "key"), high: try cursor.integer(UInt64.self, "key"))
    guard !key.isNone else { throw cursor.fault("a name's digest other than 0") }
  }
}

/// Part of a call's record that holds the request: its tensors, one after the other.
public enum RequestRecord {
  /// Lengths and type of a tensor, which its name, shape, data and strings follow.
  static let tensorHeadBytes = 12

  /// Bytes that a request takes; nil: more than any record may have.
  /// - Complexity: O(tensors + strings).
  public static func bytes(of tensors: UnsafeBufferPointer<TensorView>) -> Int? {
    var total = 0
    for index in 0..<tensors.count {
      let tensor = tensors[index]
      guard tensor.name.count <= Int(UInt16.max), tensor.shape.count <= Int(UInt8.max) else { return nil }
      total += tensorHeadBytes + tensor.name.count + 8 * tensor.shape.count + tensor.data.count
      total += 4 * tensor.strings.count
      for string in 0..<tensor.strings.count { total += tensor.strings[string].count }
      guard total <= Limits.captureRecordBytesMax else { return nil }
    }
    return total
  }

  /// Writes a request.
  /// - Parameter target: memory for ``bytes(of:)``.
  public static func write(_ tensors: UnsafeBufferPointer<TensorView>, to target: UnsafeMutableRawPointer) {
    var end = target
    for index in 0..<tensors.count {
      let tensor = tensors[index]
      end.storeBytes(of: UInt16(tensor.name.count).littleEndian, as: UInt16.self)
      end.storeBytes(of: tensor.type?.rawValue ?? 0, toByteOffset: 2, as: UInt8.self)
      end.storeBytes(of: UInt8(tensor.shape.count), toByteOffset: 3, as: UInt8.self)
      end.storeBytes(of: UInt32(tensor.data.count).littleEndian, toByteOffset: 4, as: UInt32.self)
      end.storeBytes(of: UInt32(tensor.strings.count).littleEndian, toByteOffset: 8, as: UInt32.self)
      end += tensorHeadBytes
      append(tensor.name, &end)
      for dimension in 0..<tensor.shape.count {
        end.storeBytes(of: tensor.shape[dimension].littleEndian, as: UInt64.self)
        end += 8
      }
      append(tensor.data, &end)
      for string in 0..<tensor.strings.count {
        end.storeBytes(of: UInt32(tensor.strings[string].count).littleEndian, as: UInt32.self)
        end += 4
      }
      for string in 0..<tensor.strings.count { append(tensor.strings[string], &end) }
    }
  }

  private static func append(_ bytes: UnsafeRawBufferPointer, _ end: inout UnsafeMutableRawPointer) {
    guard let start = bytes.baseAddress, bytes.count > 0 else { return }
    end.copyMemory(from: start, byteCount: bytes.count)
    end += bytes.count
  }
}

extension CapturedTensor {
  /// Bytes in a record.
  public var encoded: [UInt8] {
    var bytes: [UInt8] = []
    bytes.append(littleEndian: UInt16(name.count))
    bytes.append(type?.rawValue ?? 0)
    bytes.append(UInt8(shape.count))
    bytes.append(littleEndian: UInt32(data.count))
    bytes.append(littleEndian: UInt32(strings.count))
    bytes += name
    for dimension in shape { bytes.append(littleEndian: dimension) }
    bytes += data
    for string in strings { bytes.append(littleEndian: UInt32(string.count)) }
    for string in strings { bytes += string }
    return bytes
  }
}
