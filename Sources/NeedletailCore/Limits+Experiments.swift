extension Limits {
  // MARK: experiments

  /// Outcomes of one experiment after which it ends undecided, where its file does not say.
  public static let experimentOutcomesDefault = 100_000
  /// Most that a file may ask for: each outcome's unit is remembered in eight bytes, and kept in the state file in eleven.
  public static let experimentOutcomesMax = 500_000
  /// Experiments that run at a time.
  public static let experimentsMax = 64
  /// Outcomes of one arm that are compared with one of the other, at most: an arm with a hundredth of the requests.
  public static let experimentBlockMax = 100
  /// Outcomes of an arm that wait for those of the other; the oldest are left out first.
  public static let experimentWaitingMax = 1024
  /// Fewest blocks of outcomes before the confidence sequence of a mean says anything: it holds asymptotically.
  public static let experimentMeanBlocksMin = 100
  /// Time in milliseconds between two writes of a running experiment.
  public static let experimentWriteMilliseconds = 5_000
}
