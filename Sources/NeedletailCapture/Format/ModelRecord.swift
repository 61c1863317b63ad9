internal import NeedletailCore

/// The record of a model, which stands in each block before the first of its calls.
enum ModelRecord {
  static let kind: UInt8 = 2

  /// Columns of all outputs: one row of more would not fit a record. A reader makes room for them by the model alone.
  static let columnsMax = Limits.captureRecordBytesMax / MemoryLayout<Float>.size

  /// Whether a model has no more columns than any may have.
  static func isWithinBounds(_ model: CapturedModel) -> Bool {
    model.outputs.reduce(0) { $0 + $1.columns } <= columnsMax
  }

  /// - Parameter source: number that the heads of its calls have.
  static func encode(_ model: CapturedModel, source: UInt32) -> [UInt8] {
    var bytes: [UInt8] = [kind, 0, 0, 0]
    bytes.append(littleEndian: source)
    bytes.append(littleEndian: model.version)
    bytes.append(short: model.name)
    bytes.append(short: model.digest)
    bytes.append(littleEndian: UInt32(model.features.count))
    for feature in model.features { bytes.append(short: feature) }
    bytes.append(littleEndian: UInt32(model.outputs.count))
    for output in model.outputs {
      bytes.append(short: output.name)
      bytes.append(output.kind.rawValue)
      bytes.append(littleEndian: UInt32(output.columns))
    }
    bytes.append(littleEndian: UInt32(model.labels.count))
    for label in model.labels { bytes.append(short: label) }
    bytes.append(littleEndian: UInt32(model.redacted.count))
    for redacted in model.redacted {
      bytes.append(short: redacted.feature)
      bytes.append(redacted.redaction.rawValue)
    }
    return bytes
  }

  /// - Throws: `.damaged`.
  static func decode(_ record: UnsafeRawBufferPointer) throws(CaptureError) -> (source: UInt32, model: CapturedModel) {
    var cursor = RecordCursor(record)
    _ = try cursor.integer(UInt32.self, "kind")
    let source = try cursor.integer(UInt32.self, "source")
    let version = try cursor.integer(UInt64.self, "version")
    var model = CapturedModel(
      name: try cursor.text("model"), version: version, digest: try cursor.text("digest"), features: [], outputs: [],
      labels: [], redacted: [])
    for _ in 0..<(try cursor.count("features", bytesMin: 2)) { model.features.append(try cursor.text("feature")) }
    let outputs = try cursor.count("outputs", bytesMin: 7)
    // A selection has a bit for each.
    guard outputs <= 64 else { throw cursor.fault("at most 64 outputs") }
    for _ in 0..<outputs {
      let name = try cursor.text("output")
      guard let kind = OutputKind(rawValue: try cursor.integer(UInt8.self, "kind of an output")) else {
        throw cursor.fault("a kind of output")
      }
      model.outputs.append(
        CapturedModel.Output(name: name, kind: kind, columns: Int(try cursor.integer(UInt32.self, "columns"))))
    }
    for _ in 0..<(try cursor.count("labels", bytesMin: 2)) { model.labels.append(try cursor.text("label")) }
    for _ in 0..<(try cursor.count("redactions", bytesMin: 3)) {
      let feature = try cursor.text("feature")
      guard let redaction = Redaction(rawValue: try cursor.integer(UInt8.self, "redaction")) else {
        throw cursor.fault("a redaction")
      }
      model.redacted.append(CapturedModel.Redacted(feature: feature, redaction: redaction))
    }
    guard isWithinBounds(model) else { throw cursor.fault("at most \(columnsMax) columns of all outputs") }
    guard cursor.left == 0 else { throw cursor.fault("the end of the record") }
    return (source, model)
  }
}
