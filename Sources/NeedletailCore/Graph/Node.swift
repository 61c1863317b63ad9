/// One operation of a graph.
public struct Node: Equatable, Sendable {
  public var name: String
  /// Index of the value it reads.
  public var input: Int
  /// Index of the value it writes.
  public var output: Int
  public var operation: Operation

  public init(name: String, input: Int, output: Int, operation: Operation) {
    self.name = name
    self.input = input
    self.output = output
    self.operation = operation
  }
}

public enum Operation: Equatable, Sendable {
  /// y = isnan(x) ? fill : x, per column.
  case impute(fill: [Float])
  /// y = (x − offset) · scale, per column; clamped to [0, 1] if `clamp`.
  case affine(Affine)
  /// Per input column: width 0 passes it through, width n writes n indicator columns,
  /// all zero for a code outside 0 ..< n.
  case oneHot(widths: [Int])
  /// y = activation(x · Wᵀ + b).
  case dense(Dense)
  /// exp(x − max) / Σ, per row.
  case softmax
  /// 1 / (1 + exp(−x)).
  case sigmoid
  /// Index of the largest column as one fp32 column, the lowest on a tie.
  case argMax
}

/// Standardisation or min-max scaling: one formula, told apart for people.
public struct Affine: Equatable, Sendable {
  public enum Scaling: UInt8, Sendable, CaseIterable {
    case standardise = 0
    case minMax = 1
  }

  public var scaling: Scaling
  public var offset: [Float]
  public var scale: [Float]
  public var clamp: Bool

  public init(scaling: Scaling, offset: [Float], scale: [Float], clamp: Bool = false) {
    self.scaling = scaling
    self.offset = offset
    self.scale = scale
    self.clamp = clamp
  }
}

/// A fully connected layer.
public struct Dense: Equatable, Sendable {
  public enum Activation: UInt8, Sendable, CaseIterable {
    case identity = 0
    case relu = 1
    case tanh = 2
    case logistic = 3
    /// x · Φ(x), the exact erf form.
    case gelu = 4
  }

  /// Index of a tensor of shape [output columns, input columns].
  public var weights: Int
  /// Index of an fp32 tensor of shape [output columns].
  public var bias: Int?
  public var activation: Activation

  public init(weights: Int, bias: Int?, activation: Activation) {
    self.weights = weights
    self.bias = bias
    self.activation = activation
  }
}
