public import NIOCore
public import NeedletailCore

/// Writes the answers of one model version straight into a connection's output buffer.
///
/// Made once when a version goes live: all that does not change from answer to answer is encoded
/// beforehand. Immutable, so any loop may use it. The bytes equal those of Google's protobuf.
public final class PredictResponseEncoder: Sendable {
  /// One output of the model, in the order of the plan's outputs.
  public struct Output: Sendable {
    public var name: String
    public var kind: ModelGraph.Output.Kind
    /// fp32 columns of the plan's output; one column is sent as `[rows]`.
    public var columns: Int

    public init(name: String, kind: ModelGraph.Output.Kind, columns: Int) {
      self.name = name
      self.kind = kind
      self.columns = columns
    }
  }

  /// - Parameter labels: text of every class, by class index.
  public init(model: String, version: UInt64, outputs: [Output], labels: [String]) {}

  /// Which outputs a call wants, as a bit per output; an empty list means all.
  /// - Throws: `.notFound` naming the output that does not exist.
  public func selection(
    of names: UnsafeBufferPointer<UnsafeRawBufferPointer>
  ) throws(ServingError) -> UInt64 { fatalError() }

  /// Appends one framed response.
  /// - Parameters:
  ///   - values: for every output of the model, its `rows × columns` floats; a class output has one
  ///     float index per row, which becomes int64 or the label's text.
  ///   - selection: from ``selection(of:)``.
  /// - Complexity: O(bytes written); allocates only if `buffer` must grow.
  public func append(
    id: UInt64, rows: Int, values: UnsafeBufferPointer<UnsafePointer<Float>>, selection: UInt64,
    timing: ResponseTiming, to buffer: inout ByteBuffer
  ) { fatalError() }
}
