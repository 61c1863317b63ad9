extension TuningRun {
  /// Where the study is.
  public enum Place: Sendable, Equatable {
    /// A file of SQLite.
    case file(String)
    /// Memory: the study ends with the process.
    case memory
  }
}

/// Result of a search.
public struct TunedModel {
  public let model: TrainedModel
  /// All settings of the best single model, as a run file.
  public let configuration: Document
  public let leaderboard: [TuningLeader]
}

/// One complete trial, for people.
public struct TuningLeader: Sendable {
  /// Family and number of the trial: `gbdt #17`.
  public var name: String
  public var metric: String
  public var figure: Double
  public var fitSeconds: Double
  public var microsecondsPerRow: Double
  /// What was tried: `training.learning_rate=0.03`.
  public var settings: [String]
}

/// State of a search.
public struct TuningProgress: Sendable {
  public var seconds: Double
  public var secondsMax: Double
  /// 0: any number.
  public var trialsMax: Int
  public var complete: Int
  public var pruned: Int
  public var failed: Int
  public var running: Int
  public var metric: String
  /// Figure of the best trial of this process; nil before the first.
  public var best: Double?
}

/// Closures that hear how a search goes, one at a time but on several threads.
public struct TuningObserver: Sendable {
  /// A stage begins.
  public var stage: @Sendable (String) -> Void
  /// The search goes on; called a few times a second.
  public var progress: @Sendable (TuningProgress) -> Void
  /// A trial is better than all before it.
  public var improved: @Sendable (TuningLeader) -> Void

  public init(
    stage: @escaping @Sendable (String) -> Void = { _ in },
    progress: @escaping @Sendable (TuningProgress) -> Void = { _ in },
    improved: @escaping @Sendable (TuningLeader) -> Void = { _ in }
  ) {
    self.stage = stage
    self.progress = progress
    self.improved = improved
  }
}
