internal import NeedletailCore
internal import NeedletailModels

/// First bytes of a prediction on its way from an event loop to those who remember it; the floats that are remembered
/// follow.
struct PredictionRecordHead {
  static let bytes = 40

  var source: UInt32
  var rows: UInt16
  var isNamed: Bool
  var time: Instant
  var key: CallKey
  /// Digest of what the version was chosen by.
  var unit: UInt64

  /// - Parameter target: memory for ``bytes``, aligned to eight.
  func write(to target: UnsafeMutableRawPointer) {
    target.storeBytes(of: source, as: UInt32.self)
    target.storeBytes(of: rows, toByteOffset: 4, as: UInt16.self)
    target.storeBytes(of: isNamed ? 1 : 0, toByteOffset: 6, as: UInt16.self)
    target.storeBytes(of: time.nanoseconds, toByteOffset: 8, as: UInt64.self)
    target.storeBytes(of: key.low, toByteOffset: 16, as: UInt64.self)
    target.storeBytes(of: key.high, toByteOffset: 24, as: UInt64.self)
    target.storeBytes(of: unit, toByteOffset: 32, as: UInt64.self)
  }

  /// - Parameter record: as ``write(to:)`` wrote it, with what follows.
  init(reading record: UnsafeRawBufferPointer) {
    source = record.load(as: UInt32.self)
    rows = record.load(fromByteOffset: 4, as: UInt16.self)
    isNamed = record.load(fromByteOffset: 6, as: UInt16.self) != 0
    time = Instant(nanoseconds: record.load(fromByteOffset: 8, as: UInt64.self))
    key = CallKey(
      low: record.load(fromByteOffset: 16, as: UInt64.self), high: record.load(fromByteOffset: 24, as: UInt64.self))
    unit = record.load(fromByteOffset: 32, as: UInt64.self)
  }

  init(source: UInt32, rows: Int, isNamed: Bool, time: Instant, key: CallKey, unit: UInt64) {
    self.source = source
    self.rows = UInt16(clamping: rows)
    self.isNamed = isNamed
    self.time = time
    self.key = key
    self.unit = unit
  }
}

extension FeedbackBook.Prediction {
  /// - Parameter record: a head and the floats behind it.
  init(reading record: UnsafeRawBufferPointer) {
    let head = PredictionRecordHead(reading: record)
    let floats = UnsafeRawBufferPointer(rebasing: record[PredictionRecordHead.bytes...]).bindMemory(to: Float.self)
    self.init(
      key: head.key, source: Int(head.source), isNamed: head.isNamed, time: head.time, rows: Int(head.rows),
      floats: Array(floats), unit: head.unit)
  }
}
