/// One thread's scratch for one plan, reused from run to run.
public struct Workspace: ~Copyable {
  public init(_ plan: Plan) { fatalError("not yet") }

  /// `rowsMax × inputColumns`, row-major: bound rows go here.
  public var input: UnsafeMutablePointer<Float> { fatalError("not yet") }

  /// Answers of the last run: rows × columns, row-major; class outputs hold one index per row.
  ///
  /// - Parameter index: into ``Plan/outputs``.
  public func output(_ index: Int) -> UnsafePointer<Float> { fatalError("not yet") }
}
