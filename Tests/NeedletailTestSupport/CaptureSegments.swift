public import NeedletailCapture
internal import NeedletailCore

/// Segments of captured calls that are made without a server.
public enum CaptureSegments {
  /// Head of the record of a call.
  ///
  /// - Parameter source: number of its model in the block.
  public static func head(_ call: CapturedCall, source: UInt32 = 0) -> CallRecordHead {
    CallRecordHead(
      status: call.status, reasons: call.reasons, source: source, time: call.microseconds, id: call.id,
      queueMicroseconds: call.queueMicroseconds, computeMicroseconds: call.computeMicroseconds,
      batchRows: UInt32(call.batchRows), rows: UInt32(call.rows),
      selection: call.answers.reduce(0) { $0 | 1 << UInt64($1.output) }, tensors: UInt32(call.inputs.count),
      floats: UInt32(call.answers.reduce(0) { $0 + $1.values.count }), key: call.key)
  }

  /// Bytes of a segment of blocks, the calls of which are of one model.
  ///
  /// - Parameter isEnded: whether it has its trailer.
  public static func bytes(of blocks: [[CapturedCall]], isEnded: Bool = true) throws -> [UInt8] {
    var encoder = try SegmentEncoder(SegmentHeader(microseconds: 7, id: Array(1...16)))
    var bytes = encoder.headerBytes
    for block in blocks {
      for call in block {
        let request = call.inputs.flatMap(\.encoded)
        let answer = call.answers.flatMap { $0.values.flatMap { withUnsafeBytes(of: $0.bitPattern) { Array($0) } } }
        try request.withUnsafeBytes { request in
          try answer.withUnsafeBytes { answer in
            try encoder.append(head(call), request: request, answer: answer, of: call.model)
          }
        }
      }
      bytes += try encoder.takeBlock()
    }
    return isEnded ? bytes + encoder.trailerBytes : bytes
  }

  /// A call to a model of one number, `x0` … in, `prediction` out.
  public static func call(
    _ id: UInt64, to model: String, version: UInt64, features: [Float], prediction: Float
  ) -> CapturedCall {
    let names = features.indices.map { "x\($0)" }
    return CapturedCall(
      model: CapturedModel(
        name: model, version: version, digest: "ab", features: names,
        outputs: [.init(name: "prediction", kind: .number, columns: 1)], labels: [], redacted: []),
      status: .ok, reasons: .rate, microseconds: 1_700_000_000_000_000 + id, id: id, queueMicroseconds: 1,
      computeMicroseconds: 2, batchRows: 1, rows: 1,
      inputs: zip(names, features).map { name, value in
        CapturedTensor(
          name: Array(name.utf8), type: .float32, shape: [1],
          data: withUnsafeBytes(of: value.bitPattern.littleEndian) { Array($0) }, strings: [])
      },
      answers: [.init(output: 0, values: [prediction])])
  }
}
