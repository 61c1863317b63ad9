internal import NeedletailCore

/// Reason why a training run stopped: one sentence that names the place, what was expected and what was found.
public struct TrainingError: Error, Equatable, Sendable, CustomStringConvertible {
  /// Part that the user has to change.
  public enum Kind: String, Sendable, CaseIterable {
    /// The run file, or a `--set`.
    case configuration
    /// A data file.
    case data
    /// Settings of the training: its loss is not a number, or a class has no rows.
    case fit
    /// The place where the trained model is written or published.
    case output
    /// The user stopped it.
    case interrupted
    /// The model is there, and is not good enough to be published.
    case refused
  }

  public let kind: Kind
  public let message: String

  public init(_ kind: Kind, _ message: String) {
    self.kind = kind
    self.message = message
  }

  public var description: String { message }

  /// A fault of the run file.
  ///
  /// - Parameter location: `run.yaml:12`, or `--set model.hidden`.
  static func configuration(_ location: String, _ message: String) -> TrainingError {
    TrainingError(.configuration, "\(location): \(message)")
  }

  /// A fault of a data file: `wine.csv:17: column "alcohol": expected a number, found "abc"`.
  static func data(file: String, line: Int, column: String? = nil, _ message: String) -> TrainingError {
    let place = column.map { " column \($0.quotedForMessage):" } ?? ""
    return TrainingError(.data, "\(file):\(line):\(place) \(message)")
  }

  /// The user, or the end of the time, stopped a training.
  static let stopped = TrainingError(.fit, "stopped")
  /// A search stopped a trial that fell behind.
  static let pruned = TrainingError(.fit, "behind the median of the other trials")

  static func fit(_ message: String) -> TrainingError { TrainingError(.fit, message) }
  static func output(_ message: String) -> TrainingError { TrainingError(.output, message) }
  static func interrupted(_ message: String) -> TrainingError { TrainingError(.interrupted, message) }
}
