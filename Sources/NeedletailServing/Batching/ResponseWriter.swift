public import NeedletailCore
public import NeedletailModels

/// Surroundings of a ``TickBatcher``: a clock, and the place that answers are written to. A server writes into the
/// buffers of its connections; a test writes into arrays and moves the clock by hand. Confined to the batcher's loop.
///
/// The batcher calls these methods and none of them calls the batcher.
public protocol ResponseWriter: AnyObject {
  /// Description of one version for those who encode its answers; made once per loop and version.
  associatedtype Schema: AnyObject

  /// Reads the clock and remembers its value as ``time``.
  func now() -> Instant

  /// Value of the clock's last reading: near enough between two readings, at no cost.
  var time: Instant { get }

  func makeSchema(for model: LiveModel) -> Schema

  /// Outputs that a call names, one bit per output of the plan; no name means all outputs.
  /// - Throws: `.notFound` naming the output that does not exist.
  func selection(
    of names: UnsafeBufferPointer<UnsafeRawBufferPointer>, _ schema: Schema
  ) throws(ServingError) -> UInt64

  /// Writes the answer to one computed call.
  /// - Parameters:
  ///   - values: for every output of the plan its `rows × columns` floats, valid during the call. Behind them, where an
  ///     output is places in texts, the places of the rows' texts.
  ///   - memory: memory of a large answer that `values` point into: they stay valid while the writer keeps it. Nil: the
  ///     answer must be written now.
  func answer(
    _ address: ReplyAddress, _ schema: Schema, rows: Int,
    values: UnsafeBufferPointer<UnsafePointer<Float>>, selection: UInt64, timing: AnswerTiming, memory: CallMemory?)

  /// Writes an error in place of the answer to one admitted call.
  func reject(_ address: ReplyAddress, _ error: ServingError)

  /// Hands everything written so far to the peers, because long work follows.
  func flush()
}
