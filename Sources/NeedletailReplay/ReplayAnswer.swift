public import NeedletailCapture
public import NeedletailCore

/// How a call was answered.
public struct ReplayAnswer: Equatable, Sendable {
  /// Values of one output, row-major.
  public enum Values: Equatable, Sendable {
    case floats([Float])
    /// Indices of classes.
    case integers([Int64])
    /// Labels of classes, or texts.
    case strings([String])
  }

  public var status: StatusCode
  /// Sentence of an error.
  public var message: String
  /// By the name of the output.
  public var outputs: [String: Values] = [:]

  public init(_ status: StatusCode, _ message: String = "") {
    self.status = status
    self.message = message
  }

  /// The answer that was captured.
  public init(_ call: CapturedCall) {
    self.init(call.status)
    for answer in call.answers {
      let output = call.model.outputs[answer.output]
      outputs[output.name] = Values(answer.values, kind: output.kind) { call.model.label($0) }
    }
  }
}

extension ReplayAnswer.Values {
  /// Numbers of the engine as a caller sees them.
  ///
  /// - Parameter label: of a class; nil: there is none, which is an empty text then.
  init(_ values: [Float], kind: OutputKind, label: (Float) -> String?) {
    switch kind {
    case .number: self = .floats(values)
    case .classIndex: self = .integers(values.map { Int64(exactly: $0) ?? -1 })
    case .classLabel: self = .strings(values.map { label($0) ?? "" })
    }
  }
}

/// One captured call with two answers to it.
public struct ReplayPair: Sendable {
  public var call: CapturedCall
  public var asked: ReplayAnswer
  /// What it is compared with.
  public var expected: ReplayAnswer

  public init(call: CapturedCall, asked: ReplayAnswer, expected: ReplayAnswer) {
    self.call = call
    self.asked = asked
    self.expected = expected
  }
}
