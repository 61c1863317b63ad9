/// What a model computes: the blueprint. A ``NeedletailEngine`` plan is compiled from it.
///
/// A value is a matrix of fp32, one row a sample. Value 0 is the bound input row (one column per
/// feature; categories as codes; missing as NaN). Nodes stand in topological order and each writes one
/// value. The same graph runs in the trainer and in the server, preprocessing included.
public struct ModelGraph: Equatable, Sendable {
  public enum Task: String, Sendable, CaseIterable {
    case classification
    case regression
  }

  public struct Value: Equatable, Sendable {
    public var name: String
    public var columns: Int

    public init(name: String, columns: Int) {
      self.name = name
      self.columns = columns
    }
  }

  /// What leaves the graph under which name.
  public struct Output: Equatable, Sendable {
    public enum Kind: UInt8, Sendable, CaseIterable {
      /// fp32, `[rows, columns]`, or `[rows]` for one column.
      case number = 0
      /// int64, `[rows]`; the value has one column that holds an index.
      case classIndex = 1
      /// string, `[rows]`; the same, through the label map.
      case classLabel = 2
    }

    public var name: String
    public var value: Int
    public var kind: Kind

    public init(name: String, value: Int, kind: Kind) {
      self.name = name
      self.value = value
      self.kind = kind
    }
  }

  public var task: Task
  public var values: [Value]
  public var nodes: [Node]
  public var outputs: [Output]
  public var tensors: [WeightTensor]

  public init(task: Task, values: [Value], nodes: [Node], outputs: [Output], tensors: [WeightTensor]) {
    self.task = task
    self.values = values
    self.nodes = nodes
    self.outputs = outputs
    self.tensors = tensors
  }
}
