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
  /// Decision of the quantiser and its reason, one sentence.
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

  /// What is known, by the names under which descriptions of models list it.
  public var facts: [String: String] {
    let facts = [
      "trainer_version": trainerVersion, "data_sha256": dataSHA256, "configuration": configuration,
      "seed": String(seed), "family": family, "rows": String(rows), "quantisation": quantisation, "parent": parent,
    ]
    return facts.filter { !$0.value.isEmpty }
  }
}

/// How inputs and answers were distributed when the model was trained.
public struct DriftBaseline: Equatable, Sendable {
  public struct Column: Equatable, Sendable {
    public var name: String
    public var rows: Int
    /// 0…1.
    public var missingRate: Double
    /// Ascending, numeric columns only: e edges bound e − 1 bins of about equal mass.
    public var quantileEdges: [Double]
    public var binCounts: [Int]
    /// Categorical columns only, most frequent first.
    public var categories: [(category: String, count: Int)]

    public init(
      name: String, rows: Int, missingRate: Double, quantileEdges: [Double] = [], binCounts: [Int] = [],
      categories: [(category: String, count: Int)] = []
    ) {
      self.name = name
      self.rows = rows
      self.missingRate = missingRate
      self.quantileEdges = quantileEdges
      self.binCounts = binCounts
      self.categories = categories
    }

    public static func == (a: Column, b: Column) -> Bool {
      a.name == b.name && a.rows == b.rows && a.missingRate == b.missingRate
        && a.quantileEdges == b.quantileEdges && a.binCounts == b.binCounts
        && a.categories.elementsEqual(b.categories, by: { $0.category == $1.category && $0.count == $1.count })
    }
  }

  public var features: [Column]
  public var prediction: Column

  public init(features: [Column], prediction: Column) {
    self.features = features
    self.prediction = prediction
  }
}

/// One raw value of a row, as a file or a client gives it.
public enum Cell: Equatable, Sendable {
  case number(Double)
  case text(String)
  case missing
}

/// One raw row and what must come out of it. A version goes live only if all its samples pass on the
/// machine that will serve it.
public struct GoldenSample: Equatable, Sendable {
  public enum Answer: Equatable, Sendable {
    case numbers([Double])
    case strings([String])
  }

  public enum Expectation: Equatable, Sendable {
    /// Answers, each with the name of its output.
    case answers([(name: String, answer: Answer)])
    /// The row must be refused with this code.
    case refusal(StatusCode)

    public static func == (a: Expectation, b: Expectation) -> Bool {
      switch (a, b) {
      case (.answers(let x), .answers(let y)):
        x.count == y.count && zip(x, y).allSatisfy { $0.name == $1.name && $0.answer == $1.answer }
      case (.refusal(let x), .refusal(let y)): x == y
      default: false
      }
    }
  }

  /// Why this sample is here: `row 17`, `all missing`, `unseen category in colour`.
  public var name: String
  /// One per feature, in schema order.
  public var cells: [Cell]
  public var expectation: Expectation
  /// Largest |found − expected| / max(1, |expected|) for an engine of other numerics; classes must be equal.
  public var tolerance: Double
  /// Revision of the numerics of the engine that gave the answers; 0 where it was not recorded. An engine of the same
  /// revision must give every bit again.
  public var numerics: UInt32

  public init(
    name: String, cells: [Cell], expectation: Expectation, tolerance: Double, numerics: UInt32 = 0
  ) {
    self.name = name
    self.cells = cells
    self.expectation = expectation
    self.tolerance = tolerance
    self.numerics = numerics
  }
}
