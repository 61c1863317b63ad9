public import NeedletailCapture

/// Captured calls that somebody asks for.
public struct CaptureQuery {
  /// Directory of captures, or one segment.
  public var capture: String
  /// Nil: of any model.
  public var model: String?
  /// Nil: of any version.
  public var version: UInt64?
  /// Reasons that all calls have.
  public var reasons: CaptureReasons
  /// Microseconds since 1970 (UTC) at which the first of them may have arrived.
  public var since: UInt64
  /// Hears of what cannot be read, in a sentence for people.
  public var notice: (String) -> Void

  public init(
    capture: String, model: String? = nil, version: UInt64? = nil, reasons: CaptureReasons = [], since: UInt64 = 0,
    notice: @escaping (String) -> Void
  ) {
    self.capture = capture
    self.model = model
    self.version = version
    self.reasons = reasons
    self.since = since
    self.notice = notice
  }

  public func contains(_ call: CapturedCall) -> Bool {
    (model ?? call.model.name) == call.model.name && (version ?? call.model.version) == call.model.version
      && call.reasons.isSuperset(of: reasons) && call.microseconds >= since
  }

  /// Visits the calls of all segments, the oldest first, and says what cannot be read.
  ///
  /// - Parameter body: returns false to stop.
  /// - Returns: whether everything could be read.
  @discardableResult
  public func forEachCall(_ body: (CapturedCall) throws -> Bool) throws -> Bool {
    var isWhole = true
    var goesOn = true
    for file in try files() where goesOn {
      let isRead = try forEachCall(in: file) { call in
        goesOn = try body(call)
        return goesOn
      }
      if !isRead { isWhole = false }
    }
    return isWhole
  }

  /// Segments of the capture, the oldest first.
  /// - Throws: `CaptureError` where there are none.
  public func files() throws(CaptureError) -> [SegmentFile] {
    let files = try SegmentFile.all(at: capture)
    guard !files.isEmpty else { throw CaptureError(.missing, "\(capture): expected segments (*.ntcap), found none") }
    return files
  }

  /// As ``forEachCall(_:)``, of one segment. One that was removed since the directory was read has no calls.
  public func forEachCall(in file: SegmentFile, _ body: (CapturedCall) throws -> Bool) throws -> Bool {
    try forEachRecord(in: file) { record in
      guard case .call(let call) = record, contains(call) else { return true }
      return try body(call)
    }
  }

  /// Visits the outcomes of all segments, of the model that is asked for. What cannot be read goes unsaid, because a visit
  /// of the calls says it.
  public func forEachOutcome(_ body: (CapturedOutcome) -> Void) throws {
    for file in try files() {
      _ = try forEachRecord(in: file, isSilent: true) { record in
        if case .outcome(let outcome) = record, (model ?? outcome.model) == outcome.model { body(outcome) }
        return true
      }
    }
  }

  /// Visits the records of one segment.
  /// - Parameter isSilent: whether faults go unsaid.
  private func forEachRecord(
    in file: SegmentFile, isSilent: Bool = false, _ body: (CapturedRecord) throws -> Bool
  ) throws -> Bool {
    var fault: (any Error)?
    var goesOn = true
    var faults: [CaptureError]
    do throws(CaptureError) {
      let summary = try CaptureReader.readRecords(file.path) { record in
        do { goesOn = try body(record) } catch {
          fault = error
          goesOn = false
        }
        return goesOn
      }
      // A segment that is being written has no end yet.
      faults = file.isOpen && summary.isCut ? summary.faults.dropLast() : summary.faults
    } catch {
      faults = error.reason == .missing || file.isNew ? [] : [error]
    }
    if let fault { throw fault }
    guard goesOn else { return true }
    for error in faults where !isSilent {
      notice(error.message.hasPrefix(file.path) ? error.message : "\(file.path): \(error.message)")
    }
    return faults.isEmpty
  }
}

extension SegmentFile {
  /// Whether its writer has not written its header yet.
  public var isNew: Bool { isOpen && bytes < CaptureFormat.headerBytes }
}
