public import NeedletailCore
internal import NeedletailProtobuf

/// What became of one row of a call, as a caller reports it: `Outcome`.
public struct ReportedOutcome: Sendable, Equatable {
  public enum Truth: Sendable, Equatable {
    /// Label of a class.
    case label(String)
    /// Number of a regression, or the index of a class without a label.
    case value(Double)
  }

  /// Name of the call.
  public var key: String
  /// Row of the call, from 0.
  public var row: UInt32
  public var truth: Truth

  public init(key: String, row: UInt32 = 0, truth: Truth) {
    self.key = key
    self.row = row
    self.truth = truth
  }

  /// Puts an outcome together from its parts, and checks their sizes.
  /// - Parameters:
  ///   - index: place of the outcome in its call, for messages.
  ///   - key: UTF-8 of the name.
  ///   - label: UTF-8 of the label; nil: there is none.
  /// - Throws: `.invalidArgument` naming the part.
  package init(
    index: Int, key: UnsafeRawBufferPointer, row: UInt32, label: UnsafeRawBufferPointer?, value: Double?
  ) throws(ServingError) {
    func wrong(_ sentence: String) -> ServingError {
      .invalidArgument("outcomes[\(index)]: \(sentence)", ErrorDetail(field: "outcomes"))
    }
    guard (1...Limits.callKeyBytesMax).contains(key.count) else {
      throw wrong("key: expected 1 to \(Limits.callKeyBytesMax) bytes, found \(key.count)")
    }
    self.key = String(decoding: key, as: UTF8.self)
    self.row = row
    switch (label, value) {
    case (let label?, nil):
      guard label.count <= Limits.feedbackLabelBytesMax else {
        throw wrong("label: expected at most \(Limits.feedbackLabelBytesMax) bytes, found \(label.count)")
      }
      truth = .label(String(decoding: label, as: UTF8.self))
    case (nil, let value?): truth = .value(value)
    case (nil, nil): throw wrong("expected a label or a value, found neither")
    case (_?, _?): throw wrong("expected a label or a value, found both")
    }
  }

  /// Error for a call with no outcomes, or with too many; nil: their number is right.
  package static func countError(_ count: Int) -> ServingError? {
    let limit = Limits.feedbackOutcomesMax
    guard count > 0 else { return .invalidArgument("outcomes: expected at least one, found none") }
    guard count > limit else { return nil }
    return .invalidArgument(
      "outcomes: expected at most \(limit) in one call, found \(count)",
      ErrorDetail(
        field: "outcomes", limit: .init("outcomes_max", maximum: UInt64(limit), found: UInt64(clamping: count))))
  }

  /// Reads the outcomes of a `FeedbackRequest`.
  /// - Throws: `.invalidArgument` naming what is wrong: malformed bytes, the number of outcomes or a part of one.
  /// - Complexity: O(bytes); no more outcomes are made than a call may have.
  package static func decode(_ message: UnsafeRawBufferPointer) throws(ServingError) -> [ReportedOutcome] {
    var count = 0
    var fields = MessageCursor(message, of: "FeedbackRequest")
    while let field = try fields.next() {
      if field.number == 2, case .bytes = field.value { count += 1 }
    }
    if let error = countError(count) { throw error }
    var outcomes: [ReportedOutcome] = []
    outcomes.reserveCapacity(count)
    fields = MessageCursor(message, of: "FeedbackRequest")
    while let field = try fields.next() {
      guard field.number == 2, case .bytes(let bytes) = field.value else { continue }
      outcomes.append(try outcome(bytes, index: outcomes.count))
    }
    return outcomes
  }

  private static func outcome(
    _ message: UnsafeRawBufferPointer, index: Int
  ) throws(ServingError) -> ReportedOutcome {
    var key = UnsafeRawBufferPointer(start: nil, count: 0)
    var row: UInt32 = 0
    var label: UnsafeRawBufferPointer?
    var value: Double?
    var fields = MessageCursor(message, of: "Outcome")
    while let field = try fields.next() {
      switch (field.number, field.value) {
      case (1, .bytes(let bytes)): key = bytes
      case (2, .varint(let number)): row = UInt32(truncatingIfNeeded: number)
      // The last member of the oneof wins.
      case (3, .bytes(let bytes)): (label, value) = (bytes, nil)
      case (4, .fixed64(let bits)): (label, value) = (nil, Double(bitPattern: bits))
      default: break
      }
    }
    return try ReportedOutcome(index: index, key: key, row: row, label: label, value: value)
  }
}

/// A feedback call as sent.
public struct FeedbackView {
  /// Name of the model.
  public var model: UnsafeRawBufferPointer
  /// Bytes of the call, in the form of the protocol that it came in.
  public var body: Body

  public enum Body {
    /// A `FeedbackRequest`.
    case message(FeedbackMessageView)
    /// JSON of the Open Inference Protocol's port.
    case json(UnsafeRawBufferPointer)
  }

  public init(model: UnsafeRawBufferPointer, body: Body) {
    self.model = model
    self.body = body
  }
}

/// The occurrences of a `FeedbackRequest` in one frame, nearly always one. Borrows the frame.
public struct FeedbackMessageView {
  let payloads: CallPayloads

  /// Bytes of the message: those of all its occurrences, one after the other, which is what merging means.
  /// - Throws: `.invalidArgument` for more bytes than a call may have.
  public func bytes() throws(ServingError) -> [UInt8] {
    var bytes: [UInt8] = []
    var calls = payloads
    while let payload = try calls.next() {
      guard bytes.count + payload.count <= Limits.feedbackBytesMax else {
        throw FeedbackView.tooLong(bytes.count + payload.count)
      }
      bytes.append(contentsOf: payload)
    }
    return bytes
  }
}

extension FeedbackView {
  package static func tooLong(_ bytes: Int) -> ServingError {
    let limit = Limits.feedbackBytesMax
    return .invalidArgument(
      "feedback: expected at most \(limit) bytes in one call, found \(bytes)",
      ErrorDetail(limit: .init("feedback_bytes_max", maximum: UInt64(limit), found: UInt64(clamping: bytes))))
  }

  /// Reads the model of a `FeedbackRequest`, and passes over its outcomes.
  static func head(_ payloads: CallPayloads) throws(ServingError) -> FeedbackView {
    var view = FeedbackView(
      model: UnsafeRawBufferPointer(start: nil, count: 0), body: .message(FeedbackMessageView(payloads: payloads)))
    var calls = payloads
    while let payload = try calls.next() {
      var fields = MessageCursor(payload, of: "FeedbackRequest")
      while let field = try fields.next() {
        if field.number == 1, case .bytes(let name) = field.value { view.model = name }
      }
    }
    return view
  }
}
