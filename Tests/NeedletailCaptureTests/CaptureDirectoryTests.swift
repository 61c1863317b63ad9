import Glibc
import NeedletailCore
import NeedletailTestSupport
import Testing

@testable import NeedletailCapture

/// Segments on disk: they are ended, found again after a kill, and removed in time.
@Suite("Directory of captures")
struct CaptureDirectoryTests {
  private let temporary: TemporaryDirectory
  private let path: String

  init() throws {
    temporary = try TemporaryDirectory()
    path = temporary.file("capture")
  }

  private func write(_ calls: [CapturedCall], to writer: inout SegmentWriter) throws {
    for call in calls {
      let request = call.inputs.flatMap(\.encoded)
      let answer = call.answers.flatMap { $0.values.flatMap { withUnsafeBytes(of: $0.bitPattern) { Array($0) } } }
      try request.withUnsafeBytes { request in
        try answer.withUnsafeBytes { answer in
          try writer.append(CaptureFixtures.head(call), request: request, answer: answer, of: call.model)
        }
      }
    }
  }

  private func calls(in file: SegmentFile) throws -> [CapturedCall] {
    var calls: [CapturedCall] = []
    try CaptureReader.read(file.path) { call in
      calls.append(call)
      return true
    }
    return calls
  }

  @Test func aSegmentIsOpenUntilItIsEnded() throws {
    let directory = try CaptureDirectory(creating: path, CaptureBounds())
    var writer = try directory.begin(microseconds: 1000)
    try write([CaptureFixtures.call(1)], to: &writer)
    #expect(try writer.flush() == 1)
    let open = try SegmentFile.all(at: path)
    #expect(open.map(\.isOpen) == [true])
    #expect(try calls(in: open[0]) == [CaptureFixtures.call(1)], "others may read it")
    try write([CaptureFixtures.call(2)], to: &writer)
    #expect(try writer.end() == 1)
    let files = try SegmentFile.all(at: path)
    #expect(files.map(\.isOpen) == [false])
    let summary = try CaptureReader.summary(of: files[0].path)
    #expect(summary.isComplete)
    #expect(summary.faults.isEmpty)
    #expect(summary.calls == 2)
    #expect(try calls(in: files[0]).map(\.id) == [1, 2])
    var status = stat()
    #expect(stat(files[0].path, &status) == 0 && status.st_mode & 0o777 == 0o600)
    #expect(stat(path, &status) == 0 && status.st_mode & 0o777 == 0o700)
  }

  @Test func aSegmentThatIsEndedOrRemovedMeanwhileIsFoundOrMissing() throws {
    let directory = try CaptureDirectory(creating: path, CaptureBounds())
    var writer = try directory.begin(microseconds: 1000)
    try write([CaptureFixtures.call(1)], to: &writer)
    _ = try writer.flush()
    let listed = try SegmentFile.all(at: path)[0]
    #expect(try CaptureReader.summary(of: listed.path).isCut, "it has no end yet")
    _ = try writer.end()
    #expect(try calls(in: listed).map(\.id) == [1])
    #expect(try !CaptureReader.summary(of: listed.path).isCut)
    unlink(try SegmentFile.all(at: path)[0].path)
    let error = #expect(throws: CaptureError.self) { try calls(in: listed) }
    #expect(error?.reason == .missing)
  }

  @Test func aBlockThatIsHalfWrittenIsTheCutOfItsSegment() throws {
    let whole = try CaptureFixtures.segment([[CaptureFixtures.call(1)], [CaptureFixtures.call(2)]], isEnded: false)
    let one = try CaptureFixtures.segment([[CaptureFixtures.call(1)]], isEnded: false).count
    let temporary = try TemporaryDirectory()
    for count in one...whole.count {
      let file = try temporary.write(Array(whole[..<count]), to: "1-aa.ntcap.open")
      let summary = try CaptureReader.summary(of: file)
      #expect(summary.isCut && summary.faults.count == 1, "\(count) bytes")
    }
    var damaged = whole
    damaged[one] ^= 1
    let summary = try CaptureReader.summary(of: temporary.write(damaged, to: "2-aa.ntcap.open"))
    #expect(!summary.isCut && summary.faults.count == 1, "a damaged header is no cut")
  }

  @Test func aSegmentEndsAfterAnEighthOfItsAge() throws {
    var bounds = CaptureBounds()
    #expect(try CaptureDirectory(creating: path, bounds).segmentSecondsMax == 3600)
    bounds.secondsMax = 800
    #expect(try CaptureDirectory(creating: path, bounds).segmentSecondsMax == 100)
  }

  @Test func whatAKillLeftIsShortenedToItsWholeBlocksAndEnded() throws {
    let whole = try CaptureFixtures.segment([[CaptureFixtures.call(1)], [CaptureFixtures.call(2)]], isEnded: false)
    let one = try CaptureFixtures.segment([[CaptureFixtures.call(1)]], isEnded: false).count
    for count in 0...whole.count {
      let temporary = try TemporaryDirectory()
      try temporary.write(Array(whole[..<count]), to: "1-aa.ntcap.open")
      let complaints = try CaptureDirectory(creating: temporary.path, CaptureBounds()).recover()
      let files = try SegmentFile.all(at: temporary.path)
      guard count >= one else {
        #expect(files.isEmpty, "\(count) bytes have no call")
        continue
      }
      #expect(files.map(\.isOpen) == [false])
      #expect(try CaptureReader.summary(of: files[0].path).isComplete)
      #expect(try calls(in: files[0]).map(\.id) == (count == whole.count ? [1, 2] : [1]))
      #expect(complaints.count == (count == one || count == whole.count ? 0 : 1), "\(count) bytes: \(complaints)")
    }
  }

  @Test func aSegmentThatCannotBeReadStays() throws {
    let temporary = try TemporaryDirectory()
    try temporary.write([UInt8](repeating: 7, count: 100), to: "1-aa.ntcap.open")
    #expect(try CaptureDirectory(creating: temporary.path, CaptureBounds()).recover().count == 1)
    #expect(try temporary.entries() == ["1-aa.ntcap.open"])
  }

  @Test func oneProcessWritesAtATime() throws {
    let first = try CaptureDirectory(creating: path, CaptureBounds())
    let error = try #require(throws: CaptureError.self) { try CaptureDirectory(creating: path, CaptureBounds()) }
    #expect(error.message.contains("found another process"))
    #expect(first.path == path)
  }

  @Test func theOldestSegmentsGoFirst() throws {
    var bounds = CaptureBounds()
    bounds.bytesMax = 250
    bounds.secondsMax = 1000
    let directory = try CaptureDirectory(creating: path, bounds)
    for (index, age) in [5000, 300, 200, 100].enumerated() {
      let name = "capture/\(index)-aa.ntcap"
      try temporary.write([UInt8](repeating: 0, count: 100), to: name)
      var times = [timespec(tv_sec: 10_000 - age, tv_nsec: 0), timespec(tv_sec: 10_000 - age, tv_nsec: 0)]
      #expect(utimensat(AT_FDCWD, temporary.file(name), &times, 0) == 0)
    }
    try temporary.write([UInt8](repeating: 0, count: 10), to: "capture/9-aa.ntcap.open")
    try temporary.write([1], to: "capture/notes.txt")
    let left = directory.prune(nowSeconds: 10_000, room: 0)
    #expect(left.segments == 3)
    #expect(left.bytes == 210)
    #expect(try temporary.entries(of: "capture") == ["2-aa.ntcap", "3-aa.ntcap", "9-aa.ntcap.open", "notes.txt"])
    #expect(directory.prune(nowSeconds: 10_000, room: 100).segments == 2)
  }
}
