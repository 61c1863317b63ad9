/// Where a model came from.
public struct Lineage: Equatable, Sendable {
  public var trainerVersion: String
  /// SHA-256 of the training files in the order of the run file, lower-case hexadecimal.
  public var dataSHA256: String
  /// The run's configuration, defaults merged in, as YAML.
  public var configuration: String
  public var seed: UInt64
  /// Digest of the bundle this one was trained from, or empty.
  public var parent: String
  /// Name of the trainer's model family, e.g. `mlp`.
  public var family: String
  /// Rows trained on.
  public var rows: Int
  /// What the quantiser decided and why, one sentence.
  public var quantisation: String

  public init(
    trainerVersion: String, dataSHA256: String, configuration: String, seed: UInt64, parent: String,
    family: String, rows: Int, quantisation: String
  ) {
    self.trainerVersion = trainerVersion
    self.dataSHA256 = dataSHA256
    self.configuration = configuration
    self.seed = seed
    self.parent = parent
    self.family = family
    self.rows = rows
    self.quantisation = quantisation
  }
}
