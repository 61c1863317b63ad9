extension Limits {
  // MARK: feedback

  /// Bytes of the name that a caller gives a call; a routing key, which stands in for it, has no more.
  public static let callKeyBytesMax = routingKeyBytesMax
  /// Outcomes of one feedback call: joining them takes a millisecond or so.
  public static let feedbackOutcomesMax = 1024
  /// Bytes of one feedback call, which are copied off the event loop before they are read.
  public static let feedbackBytesMax = 1 << 20
  /// Bytes of the label of an outcome.
  public static let feedbackLabelBytesMax = 1024
  /// Outcomes of one feedback call that its answer explains; the others are counted.
  public static let feedbackProblemsMax = 16
  /// Bytes of predictions that one loop may have waiting to be remembered: some 10,000 of them.
  public static let feedbackRingBytes = 1 << 20
  /// Rows of a call whose predictions are remembered. Larger calls are batch jobs, whose answers their callers keep.
  public static let feedbackRowsMax = 64
  /// Columns of probabilities that are remembered; with more classes only the one that was answered is.
  public static let feedbackClassesMax = 256
  /// Predictions of one model that are remembered, where its rule does not say.
  public static let feedbackPredictionsDefault = 100_000
  /// Most that a rule may ask for.
  public static let feedbackPredictionsMax = 10_000_000
  /// Bytes of the predictions of one model that are remembered, however many its rule allows.
  public static let feedbackTableBytesMax = 64 << 20
  /// Bytes of the predictions of all models together: where more of them are remembered than have room for as many bytes
  /// each, each has fewer.
  public static let feedbackBytesOfAllMax = 1 << 30
  /// Time in seconds in which an outcome may come, and that the figures look back, a day.
  public static let feedbackWindowSecondsDefault = 86_400
  /// Longest such time, 90 days.
  public static let feedbackWindowSecondsMax = 7_776_000
  /// Features by which the figures of one model are divided.
  public static let feedbackGroupsMax = 4
  /// Groups of one feature that have figures of their own; the others share one.
  public static let feedbackGroupValuesMax = 16
  /// Versions of one model whose figures are kept, the newest ones to answer.
  public static let feedbackVersionsMax = 8
  /// Models that are remembered at a time.
  public static let feedbackModelsMax = 1024
  /// Fewest outcomes by which a version is judged.
  public static let feedbackJudgedMin = 100
  /// Bytes of a file of rules.
  public static let feedbackRulesBytesMax = 1 << 20
  /// Outcomes on their way to the capture thread.
  public static let feedbackCaptureQueueMax = 65_536
}
