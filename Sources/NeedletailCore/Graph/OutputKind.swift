/// What an output of a model means, and so how an answer carries it. Raw values are those of
/// `needletail.v1.OutputKind`.
public enum OutputKind: UInt8, Sendable, CaseIterable {
  /// fp32, `[rows, columns]`, or `[rows]` for one column.
  case number = 0
  /// int64, `[rows]`; the value has one column that holds an index.
  case classIndex = 1
  /// string, `[rows]`: the label map applied to a class index.
  case classLabel = 2
}
