import NeedletailCore
import NeedletailTestSupport
import Testing

@testable import NeedletailCapture

/// Segments are read as they were written, and whatever was done to them since is found.
@Suite("Capture segments")
struct SegmentTests {
  private static let blocks = [
    [CaptureFixtures.call(1), CaptureFixtures.error(2)], [CaptureFixtures.call(3)],
    [CaptureFixtures.call(4, []), CaptureFixtures.named(5)],
  ]

  @Test(arguments: [1, 7, 48, 1 << 20])
  func callsAreReadAsTheyWereWritten(pieceBytes: Int) throws {
    let bytes = try CaptureFixtures.segment(Self.blocks)
    let found = try CaptureFixtures.decode(bytes, pieceBytes: pieceBytes)
    // NaN differs from itself: it is compared by its bytes, of which the tensors are made.
    #expect(found.calls == Self.blocks.flatMap { $0 })
    #expect(found.faults.isEmpty)
    #expect(found.isComplete)
    #expect(found.wholeBytes == bytes.count)
  }

  @Test func outcomesAreReadAsTheyWereWritten() throws {
    let key = CallKeyHasher().key(of: "order-8812")
    let outcomes = [
      CapturedOutcome(
        model: "m", version: 7, key: key, row: 3, truth: .label("größe"), microseconds: 9, isJoined: true),
      CapturedOutcome(
        model: "m", version: 0, key: key, row: 0, truth: .number(-1.25), microseconds: 10, isJoined: false),
    ]
    var encoder = try SegmentEncoder(SegmentHeader(microseconds: 7, id: Array(1...16)))
    var bytes = encoder.headerBytes
    for outcome in outcomes { encoder.append(outcome) }
    bytes += try encoder.takeBlock()
    bytes += encoder.trailerBytes
    let found = try CaptureFixtures.decode(bytes)
    #expect(found.outcomes == outcomes)
    #expect(found.calls.isEmpty && found.faults.isEmpty && found.isComplete)
    // Every record that is cut, or has a byte too many, is refused.
    for record in outcomes.map(\.encoded) {
      for cut in 0..<record.count {
        #expect(throws: CaptureError.self, "\(cut) bytes") {
          _ = try record[..<cut].withUnsafeBytes { try CapturedOutcome(reading: $0) }
        }
      }
      #expect(throws: CaptureError.self) {
        _ = try (record + [0]).withUnsafeBytes { try CapturedOutcome(reading: $0) }
      }
      var other = record
      other[2] = 9
      #expect(throws: CaptureError.self) { _ = try other.withUnsafeBytes { try CapturedOutcome(reading: $0) } }
    }
  }

  @Test func everyPrefixGivesTheBlocksThatItHolds() throws {
    let bytes = try CaptureFixtures.segment(Self.blocks)
    let ends = try (0...Self.blocks.count).map {
      try CaptureFixtures.segment(Array(Self.blocks.prefix($0)), isEnded: false).count
    }
    for count in ends[0]..<bytes.count {
      let found = try CaptureFixtures.decode(Array(bytes[..<count]))
      let blocks = ends.lastIndex { $0 <= count }!
      #expect(found.calls == Self.blocks.prefix(blocks).flatMap { $0 }, "\(count) bytes")
      #expect(!found.isComplete)
      #expect(found.faults.count == 1)
      #expect(found.wholeBytes == ends[blocks], "\(count) bytes")
    }
  }

  @Test func noFlippedBitGivesAnotherCall() throws {
    let bytes = try CaptureFixtures.segment(Self.blocks)
    let calls = Self.blocks.flatMap { $0 }
    for index in bytes.indices {
      var flipped = bytes
      flipped[index] ^= 1 << UInt8(index % 8)
      do throws(CaptureError) {
        let found = try CaptureFixtures.decode(flipped)
        #expect(!found.faults.isEmpty, "byte \(index)")
        #expect(found.calls.allSatisfy(calls.contains), "byte \(index)")
      } catch {
        #expect(index < CaptureFormat.headerBytes, "byte \(index): \(error)")
      }
    }
  }

  @Test func aDamagedBlockIsPassedOver() throws {
    var bytes = try CaptureFixtures.segment(Self.blocks)
    let second = try CaptureFixtures.segment([Self.blocks[0]], isEnded: false).count
    bytes[second + CaptureFormat.headerBytes + 5] ^= 0xFF
    let found = try CaptureFixtures.decode(bytes)
    #expect(found.calls == Self.blocks[0] + Self.blocks[2])
    #expect(found.faults.map(\.reason) == [.damaged])
    #expect(found.isComplete)
  }

  @Test func anotherVersionOfTheFormatIsNamed() throws {
    var header = SegmentHeader(microseconds: 7, id: Array(1...16))
    header.major = 2
    let error = try #require(throws: CaptureError.self) { try CaptureFixtures.decode(header.encoded) }
    #expect(error.reason == .version)
    #expect(error.message.contains("expected version 1 of the format, found 2.1"))
    // A later minor version only adds what may be passed over.
    header.major = 1
    header.minor = 9
    let body = try CaptureFixtures.segment(Self.blocks).dropFirst(CaptureFormat.headerBytes)
    #expect(try CaptureFixtures.decode(header.encoded + body).calls.count == 5)
  }

  @Test func foreignBytesAreNoSegment() throws {
    for bytes in [
      Array("time,model,version\n".utf8) + [UInt8](repeating: 65, count: 64), [UInt8](repeating: 0, count: 64),
    ] {
      let error = try #require(throws: CaptureError.self) { try CaptureFixtures.decode(bytes) }
      #expect(error.reason == .foreign)
    }
  }

  @Test func blocksThatWereMovedAreFound() throws {
    let one = try CaptureFixtures.segment([Self.blocks[0]], isEnded: false)
    let two = try CaptureFixtures.segment([Self.blocks[0], Self.blocks[1]], isEnded: false)
    let swapped = one[..<CaptureFormat.headerBytes] + two[one.count...] + one[CaptureFormat.headerBytes...]
    let found = try CaptureFixtures.decode(Array(swapped))
    #expect(found.calls.isEmpty)
    #expect(found.faults.first?.message == "segment: expected block 0, found block 1")
  }

  /// Lengths that a header names although no writer makes them, each with a checksum that fits.
  @Test func hostileLengthsTakeNoMemory() throws {
    let header = SegmentHeader(microseconds: 7, id: Array(1...16)).encoded
    for (frame, raw) in [(16, Int(UInt32.max)), (Int(UInt32.max), 16), (64 << 20, 64 << 20)] {
      let block = BlockHeader(
        kind: .block, frameBytes: frame, rawBytes: raw, calls: 1, first: 0, last: 0, checksum: 0, sequence: 0)
      let found = try CaptureFixtures.decode(header + block.encoded)
      #expect(found.faults.count == 1)
      #expect(found.faults.first?.message.contains("expected at most") == true, "\(frame), \(raw)")
    }
  }

  /// Records that pass every checksum and are wrong all the same.
  @Test func hostileRecordsAreRefused() throws {
    let model = ModelRecord.encode(CaptureFixtures.model, source: 0)
    let call = CaptureFixtures.call(1)
    var head = CaptureFixtures.head(call)
    let request = call.inputs.flatMap(\.encoded)
    let answer = [UInt8](repeating: 0, count: 24)
    func records(_ parts: [[UInt8]]) -> [UInt8] {
      parts.flatMap { part in
        var bytes: [UInt8] = []
        bytes.append(littleEndian: UInt32(part.count))
        return bytes + part
      }
    }
    func encoded(_ head: CallRecordHead, _ request: [UInt8], _ answer: [UInt8]) -> [UInt8] {
      var bytes = [UInt8](repeating: 0, count: head.bytes)
      bytes.withUnsafeMutableBytes { head.write(to: $0.baseAddress!) }
      return bytes + request + answer
    }
    func fails(_ records: [UInt8], _ what: String, sourceLocation: SourceLocation = #_sourceLocation) {
      #expect(throws: CaptureError.self, "\(what)", sourceLocation: sourceLocation) {
        _ = try BlockRecords.forEach(in: records) { _ in true }
      }
    }
    let good = encoded(head, request, answer)
    #expect(try BlockRecords.forEach(in: records([model, good])) { _ in true })
    #expect(
      try BlockRecords.forEach(in: records([model, [9, 1, 2, 3], good])) { record in
        guard case .call(let found) = record else { return false }
        return found.id == 1
      })
    fails(records([good]), "a call without its model")
    for cut in 1..<good.count { fails(records([model, Array(good[..<cut])]), "\(cut) bytes of a call") }
    for cut in 1..<model.count { fails(records([Array(model[..<cut])]), "\(cut) bytes of a model") }
    fails(records([model, good + [0]]), "a byte too many")
    head.tensors = .max
    fails(records([model, encoded(head, request, answer)]), "2³² tensors")
    head = CaptureFixtures.head(call)
    head.floats = .max
    fails(records([model, encoded(head, request, answer)]), "2³² floats")
    head = CaptureFixtures.head(call)
    head.rows = .max
    fails(records([model, encoded(head, request, answer)]), "2³² rows")
    var strings = call.inputs[1].encoded
    strings.replaceSubrange(8..<12, with: [255, 255, 255, 255])
    head = CaptureFixtures.head(call)
    head.tensors = 1
    fails(records([model, encoded(head, strings, answer)]), "2³² strings")
    fails([255, 255, 255, 255], "a record of 2³² bytes")
    var wide = CaptureFixtures.model
    wide.outputs[1].columns = Int(UInt32.max)
    fails(records([ModelRecord.encode(wide, source: 0)]), "an output of 2³² columns")
  }

  @Test func aModelThatNoReaderTakesIsNotWritten() throws {
    var call = CaptureFixtures.error(1)
    call.model.outputs[0].columns = Limits.captureRecordBytesMax / 4 + 1
    #expect(throws: CaptureError.self) { try CaptureFixtures.segment([[call]]) }
    // One column less, with the one of the other output.
    call.model.outputs[0].columns -= 2
    #expect(try CaptureFixtures.decode(CaptureFixtures.segment([[call]])).calls == [call])
  }

  @Test func requestsOfACallAreWrittenAsTheyLieInAFrame() throws {
    let tensors = [CaptureFixtures.column, CaptureFixtures.texts]
    let (bytes, count) = CapturedTensors.withViews(of: tensors) { views -> ([UInt8], Int) in
      let count = RequestRecord.bytes(of: views)!
      let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 1)
      defer { memory.deallocate() }
      RequestRecord.write(views, to: memory.baseAddress!)
      return (Array(memory), count)
    }
    #expect(bytes == tensors.flatMap(\.encoded))
    #expect(bytes.count == count)
  }

  @Test func columnsAreTakenApart() {
    let matrix = CapturedTensor(
      name: Array("features".utf8), type: .float64, shape: [2, 2], data: CaptureFixtures.bytes([1, 2, 3, .nan]),
      strings: [])
    #expect(
      CaptureFixtures.call(1, [matrix]).inputColumns == [
        CapturedColumn(name: "age", values: [.double(1), .double(3)]),
        CapturedColumn(name: "colour", values: [.double(2), .missing]),
      ])
    let call = CaptureFixtures.call(1)
    #expect(
      call.inputColumns == [
        CapturedColumn(name: "age", values: [.double(31.5), .missing]),
        CapturedColumn(name: "colour", values: [.text("grün"), .missing]),
      ])
    #expect(
      call.answerColumns == [
        CapturedColumn(name: "probabilities[0]", values: [.float(0.25), .float(1)]),
        CapturedColumn(name: "probabilities[1]", values: [.float(0.75), .float(0)]),
        CapturedColumn(name: "label", values: [.text("yes"), .text("no")]),
      ])
  }
}
