extension Limits {
  // MARK: experiments

  /// Outcomes of one experiment after which it ends undecided, where its file does not say.
  public static let experimentOutcomesDefault = 100_000
  /// Most that a file may ask for: each outcome's unit is remembered in eight bytes, and kept in the state file in eleven.
  public static let experimentOutcomesMax = 500_000
  /// Most outcomes that are counted as left out: a double, as metrics have it, tells every whole number below it apart.
  public static let experimentRepeatedMax = 1 << 53
  /// Experiments that run at a time.
  public static let experimentsMax = 64
  /// Outcomes of one arm that are compared with one of the other, at most: an arm with a hundredth of the requests.
  public static let experimentBlockMax = 100
  /// Blocks for which outcomes of an arm wait for those of the other; the oldest are left out first. More would compare old
  /// outcomes of one arm with new ones of the other: with 1,024 outcomes, 45 % of equal pairs at 60 : 40 were found better
  /// while the rate of both rose from 0.55 to 0.95 (`ArmPairTests`). Fewer would leave out more: at 50 : 50 it is a tenth.
  public static let experimentWaitingBlocksMax = 4
  /// Fewest blocks of outcomes before the confidence sequence of a mean says anything: it holds asymptotically.
  public static let experimentMeanBlocksMin = 100
  /// Time in milliseconds between two writes of a running experiment.
  public static let experimentWriteMilliseconds = 5_000
}
