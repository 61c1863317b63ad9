internal import NeedletailCore
internal import NeedletailModels
internal import NeedletailServing
internal import NeedletailWire

/// A feedback call on its way off the event loop: a copy of its bytes, which are read there.
struct FeedbackOrder: Sendable {
  private enum Body: Sendable {
    case message([UInt8])
    case json([UInt8])
  }

  let model: String
  private let body: Body

  /// - Throws: `.invalidArgument` for more bytes than a call may have.
  init(_ view: FeedbackView) throws(ServingError) {
    model = ModelReference.text(view.model)
    switch view.body {
    case .message(let message): body = .message(try message.bytes())
    case .json(let bytes):
      guard bytes.count <= Limits.feedbackBytesMax else { throw FeedbackView.tooLong(bytes.count) }
      body = .json(Array(bytes))
    }
  }

  /// Reads the outcomes.
  /// - Throws: `.invalidArgument` naming what is wrong.
  func outcomes() throws(ServingError) -> [ReportedOutcome] {
    switch body {
    case .message(let bytes): try Self.read(bytes, ReportedOutcome.decode)
    case .json(let bytes): try Self.read(bytes, FeedbackJSON.outcomes)
    }
  }

  private static func read(
    _ bytes: [UInt8], _ body: (UnsafeRawBufferPointer) throws(ServingError) -> [ReportedOutcome]
  ) throws(ServingError) -> [ReportedOutcome] {
    try bytes.withUnsafeBufferPointer { (bytes) throws(ServingError) in try body(UnsafeRawBufferPointer(bytes)) }
  }
}

extension ReportedOutcome {
  /// The outcome as it is joined: by the digest of the call's name.
  func named(_ names: CallKeyHasher) -> Outcome {
    let truth: Outcome.Truth =
      switch self.truth {
      case .label(let label): .label(label)
      case .value(let value): .number(value)
      }
    return Outcome(key: names.key(of: key), row: Int(row), truth: truth)
  }
}

extension FeedbackReport {
  /// - Parameter results: what came of each outcome.
  init(_ results: [OutcomeResult]) {
    self.init()
    for (index, result) in results.enumerated() {
      switch result {
      case .joined: joined += 1
      case .unknown: unknown += 1
      case .late: late += 1
      case .duplicate: duplicate += 1
      case .contradictory: contradictory += 1
      case .value, .class, .row: invalid += 1
      }
      guard result != .joined, problems.count < Limits.feedbackProblemsMax else { continue }
      var problem = Problem()
      problem.index = UInt32(clamping: index)
      problem.result = result.rawValue
      problem.message = "outcomes[\(index)]: \(result.sentence)"
      problems.append(problem)
    }
  }
}
