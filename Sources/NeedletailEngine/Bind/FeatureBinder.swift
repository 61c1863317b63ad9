public import NeedletailCore

/// Turns what a client or a file sends into bound rows: fp32, one column per feature, missing as NaN,
/// categories as codes.
///
/// A request brings either one tensor `features` of shape `[rows, features]`, or one tensor per
/// feature, by name in any order, of shape `[rows]` or `[rows, 1]`. Immutable; anyone may call it.
public final class FeatureBinder: Sendable {
  public let schema: FeatureSchema

  public init(_ schema: FeatureSchema) throws(PlanError) { fatalError("not yet") }

  /// Checks names, types, shapes and byte counts, and returns how many rows there are.
  public func rows(of tensors: UnsafeBufferPointer<TensorView>, rowsMax: Int) throws(ServingError) -> Int {
    fatalError("not yet")
  }

  /// Binds some rows of a request; `rows(of:rowsMax:)` must have passed for the same tensors.
  ///
  /// - Parameter row0: room for `rows.count × features` floats; row `rows.lowerBound` comes first.
  public func bind(_ tensors: UnsafeBufferPointer<TensorView>, rows: Range<Int>, into row0: UnsafeMutablePointer<Float>)
    throws(ServingError)
  { fatalError("not yet") }

  /// Binds one row of cells, in schema order.
  ///
  /// - Parameter row: the number that messages name.
  public func bind(_ cells: [Cell], row: Int = 0, into: UnsafeMutablePointer<Float>) throws(ServingError) {
    fatalError("not yet")
  }
}
