import NeedletailCore
import NeedletailTestSupport

@testable import NeedletailCapture

/// Calls and segments made in memory.
enum CaptureFixtures {
  static let model = CapturedModel(
    name: "people", version: 3, digest: "ab", features: ["age", "colour"],
    outputs: [
      .init(name: "probabilities", kind: .number, columns: 2), .init(name: "label", kind: .classLabel, columns: 1),
    ],
    labels: ["no", "yes"], redacted: [])

  static let column = CapturedTensor(
    name: Array("age".utf8), type: .float64, shape: [2], data: bytes([31.5, .nan]), strings: [])

  static let texts = CapturedTensor(
    name: Array("colour".utf8), type: .string, shape: [2], data: [], strings: [Array("grün".utf8), []])

  static func call(_ id: UInt64, _ inputs: [CapturedTensor] = [column, texts]) -> CapturedCall {
    CapturedCall(
      model: model, status: .ok, reasons: [.rate, .slow], microseconds: 1_700_000_000_000_000 + id, id: id,
      queueMicroseconds: 5, computeMicroseconds: 9, batchRows: 4, rows: 2, inputs: inputs,
      answers: [
        .init(output: 0, values: [0.25, 0.75, 1, 0]), .init(output: 1, values: [1, 0]),
      ])
  }

  /// A call with a name.
  static func named(_ id: UInt64) -> CapturedCall {
    var call = call(id)
    call.key = CallKeyHasher().key(of: "\(id)")
    return call
  }

  static func error(_ id: UInt64) -> CapturedCall {
    var call = call(id)
    (call.status, call.reasons, call.rows, call.answers) = (.invalidArgument, .error, 0, [])
    return call
  }

  static func bytes(_ values: [Double]) -> [UInt8] {
    values.flatMap { value in withUnsafeBytes(of: value.bitPattern.littleEndian) { Array($0) } }
  }

  static func head(_ call: CapturedCall, source: UInt32 = 0) -> CallRecordHead {
    CaptureSegments.head(call, source: source)
  }

  /// A segment of blocks.
  static func segment(_ blocks: [[CapturedCall]], isEnded: Bool = true) throws -> [UInt8] {
    try CaptureSegments.bytes(of: blocks, isEnded: isEnded)
  }

  /// All that a decoder finds.
  struct Found: Equatable {
    var calls: [CapturedCall] = []
    var outcomes: [CapturedOutcome] = []
    var faults: [CaptureError] = []
    var isComplete = false
    var wholeBytes = 0
  }

  /// Decodes bytes that come in pieces.
  static func decode(_ bytes: [UInt8], pieceBytes: Int = 1 << 20) throws(CaptureError) -> Found {
    var decoder = SegmentDecoder()
    var found = Found()
    func take(_ step: SegmentDecoder.Step) -> Bool {
      switch step {
      case .header: return true
      case .block(_, let records):
        do throws(CaptureError) {
          _ = try BlockRecords.forEach(in: records) { record in
            switch record {
            case .call(let call): found.calls.append(call)
            case .outcome(let outcome): found.outcomes.append(outcome)
            }
            return true
          }
        } catch {
          found.faults.append(error)
        }
        return true
      case .damaged(_, let error): found.faults.append(error)
      case .end: found.isComplete = true
      case .torn(let error): found.faults.append(error)
      case .moreBytes: return false
      }
      if case .damaged = step { return true }
      return false
    }
    var start = 0
    var isOver = false
    while start < bytes.count, !isOver {
      let end = min(bytes.count, start + pieceBytes)
      Array(bytes[start..<end]).withUnsafeBytes { decoder.append($0) }
      start = end
      while true {
        let step = try decoder.next()
        if case .moreBytes(let count) = step {
          if count > 0 { break }
          continue
        }
        if !take(step) {
          isOver = true
          break
        }
      }
    }
    if !isOver { _ = take(decoder.finish()) }
    found.wholeBytes = decoder.wholeBytes
    return found
  }
}
