internal import NeedletailCore
internal import NeedletailCrypto
internal import NeedletailMetrics
internal import NeedletailModels
internal import NeedletailServing
internal import NeedletailYAML

extension ServerConfiguration {
  /// Reads the rules about feedback; nil: there are none.
  /// - Throws: a sentence about the file that cannot be used.
  func readFeedbackRules() throws(ConfigurationError) -> FeedbackRules? {
    guard let path = feedbackRules else { return nil }
    do throws(YAMLError) {
      return try FeedbackRules(path: path)
    } catch {
      throw ConfigurationError("--feedback-rules: \(error.description)")
    }
  }

  /// Makes what the loops keep of calls: captures, predictions, and the digests of names, whose key is that of captures.
  /// - Parameters:
  ///   - experiments: told of outcomes.
  ///   - report: called with sentences about the disk and about rules that do not fit their models.
  func makeKeeping(
    _ metrics: MetricsRegistry, experiments: ExperimentService, report: @escaping @Sendable (String) -> Void
  ) throws(ConfigurationError) -> (keeping: CallKeeping, parts: KeptCalls) {
    var parts = KeptCalls()
    if let capture {
      let key = try capture.read().key
      if !key.isEmpty { parts.names = CallKeyHasher(secret: SHA256.hash(key)) }
      parts.capture = try capture.service(metrics, report: report)
    }
    if let rules = try readFeedbackRules() {
      parts.feedback = FeedbackService(
        rules: rules, metrics: metrics, capture: parts.capture, experiments: experiments, report: report)
    }
    return (CallKeeping(capture: parts.capture, feedback: parts.feedback, names: parts.names), parts)
  }
}

/// Who keeps calls beyond their answers, for those that are no loops.
struct KeptCalls: Sendable {
  var capture: CaptureService?
  var feedback: FeedbackService?
  var names = CallKeyHasher()
}
