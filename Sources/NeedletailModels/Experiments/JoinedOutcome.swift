public import NeedletailCore

/// An outcome that was joined with its prediction, as an experiment sees it.
public struct JoinedOutcome: Sendable, Equatable {
  /// The version that answered.
  public var version: ModelVersion
  /// Whether the rollout chose the version, rather than the caller.
  public var isAssigned: Bool
  /// Digest of what the version was chosen by: the routing key, or the call itself where it had none.
  public var unit: UInt64
  /// Arrival of the call.
  public var time: Instant
  /// Whether the class was right; nil: the model answers a number.
  public var isCorrect: Bool?
  /// Distance of answer and outcome; nil: the model answers a class, or its answer was NaN or infinite.
  public var absoluteError: Double?
  /// Name of the true class; nil: the outcome is a number, or its class has no name.
  public var label: String?
  /// The true number, or the index of the true class.
  public var truth: Double

  public init(
    version: ModelVersion, isAssigned: Bool, unit: UInt64, time: Instant, prediction: PredictionShape.Prediction,
    truth: Double, shape: PredictionShape
  ) {
    self.version = version
    self.isAssigned = isAssigned
    self.unit = unit
    self.time = time
    self.truth = truth
    switch prediction {
    case .nothing: isCorrect = shape.isClassification ? false : nil
    case .ofClass(let found, _): isCorrect = Double(found) == truth
    case .number(let number): absoluteError = abs(number - truth)
    }
    if shape.isClassification, let index = Int(exactly: truth), shape.labels.indices.contains(index) {
      label = shape.labels[index]
    }
  }
}

extension ExperimentSettings {
  /// Value of the metric of one outcome; nil: the model has no such metric, or its answer was no number.
  func value(of outcome: JoinedOutcome) -> Double? {
    switch metric {
    case .accuracy: outcome.isCorrect.map { $0 ? 1 : 0 }
    case .absoluteError: outcome.absoluteError
    case .outcome:
      if let success {
        outcome.label.map { $0 == success ? 1 : 0 }
      } else {
        outcome.isCorrect == nil ? outcome.truth : nil
      }
    }
  }

  /// Score of a value: higher is better, and a rate stays one.
  func score(_ value: Double) -> Double {
    switch goal {
    case .higher: value
    case .lower: isRate ? 1 - value : -value
    }
  }
}
