extension TuningRun {
  /// Where the study is.
  public enum Place: Sendable, Equatable, CustomStringConvertible {
    /// A file of SQLite, for processes of one machine.
    case file(String)
    /// Memory: the study ends with the process.
    case memory
    /// A database of PostgreSQL, for processes of any machine.
    ///
    /// - Parameters:
    ///   - url: a connection string of libpq.
    ///   - name: tells the study from others there.
    case postgreSQL(url: String, name: String)

    /// - Parameters:
    ///   - text: a path, or an address that begins with `postgresql://` or `postgres://`.
    ///   - name: name of a study in PostgreSQL.
    public init(_ text: String, name: String) {
      let isAddress = text.hasPrefix("postgresql://") || text.hasPrefix("postgres://")
      self = isAddress ? .postgreSQL(url: text, name: name) : .file(text)
    }

    /// Place of the study in messages, without a password.
    public var description: String {
      switch self {
      case .file(let path): path
      case .memory: "memory"
      case .postgreSQL(_, let name): "\(name) in PostgreSQL"
      }
    }

    /// Longest name of a study: PostgreSQL cuts names of tables after 63 bytes.
    public static let nameBytesMax = 40

    /// Forgets a study in a database.
    ///
    /// - Throws: `TrainingError` of kind `output` where it cannot be reached.
    public func forget(_ configuration: RunConfiguration) throws(TrainingError) {
      try open(TuningSettings(configuration), worker: "", isInterrupted: { false }).drop()
    }

    func open(
      _ settings: TuningSettings, worker: String, isInterrupted: @escaping @Sendable () -> Bool
    ) throws(TrainingError) -> StudyStore {
      switch self {
      case .file(let path):
        return StudyStore(try SQLiteStudy(path: path), worker: worker, lostSeconds: settings.lostSeconds)
      case .memory:
        return StudyStore(try SQLiteStudy(path: ":memory:"), worker: worker, lostSeconds: settings.lostSeconds)
      case .postgreSQL(let url, let name):
        let database = try PostgreSQLStudy(
          url: url, reconnectSeconds: settings.reconnectSeconds, isInterrupted: isInterrupted)
        return StudyStore(database, worker: worker, lostSeconds: settings.lostSeconds, name: name)
      }
    }
  }
}

/// Result of a search.
public struct TunedModel {
  public internal(set) var model: TrainedModel
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
  /// Trials at work in this process: `gbdt #17`.
  public var running: [String]
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
