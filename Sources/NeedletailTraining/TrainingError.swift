internal import NeedletailBundle
internal import NeedletailCore
internal import NeedletailEngine

/// Why a training run stopped: one sentence that names the place, what was expected and what was found.
public struct TrainingError: Error, Equatable, Sendable, CustomStringConvertible {
  /// What the user would have to change.
  public enum Kind: String, Sendable, CaseIterable {
    /// The run file, or a `--set`.
    case configuration
    /// A data file.
    case data
    /// The optimisation itself: a loss that is not a number, a class without rows.
    case fit
    /// Writing or publishing what was trained.
    case output
  }

  public let kind: Kind
  public let message: String

  public init(_ kind: Kind, _ message: String) {
    self.kind = kind
    self.message = message
  }

  public var description: String { message }

  /// - Parameter location: `run.yaml:12`, or `--set model.hidden`.
  static func configuration(_ location: String, _ message: String) -> TrainingError {
    TrainingError(.configuration, "\(location): \(message)")
  }

  /// `wine.csv:17: column "alcohol": expected a number, found "abc"`.
  static func data(file: String, line: Int, column: String? = nil, _ message: String) -> TrainingError {
    let place = column.map { " column \($0.quotedForMessage):" } ?? ""
    return TrainingError(.data, "\(file):\(line):\(place) \(message)")
  }

  static func fit(_ message: String) -> TrainingError { TrainingError(.fit, message) }
  static func output(_ message: String) -> TrainingError { TrainingError(.output, message) }

  init(_ error: PlanError) { self.init(.fit, "compiling the trained model: \(error)") }
  init(_ error: ServingError) { self.init(.fit, "running the trained model: \(error.message)") }
  init(_ error: BundleError) { self.init(.output, error.message) }
}
