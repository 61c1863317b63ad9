public import NeedletailCore
public import NeedletailModels

/// Where the answer to a call goes: a connection's slot in its loop's table, and the call's id there.
///
/// Slots are reused; the generation tells whether the connection that asked is still the one that
/// stands there. Plain bits, so that moving jobs about costs no reference counting.
public struct ReplyAddress: Hashable, Sendable {
  public var slot: UInt32
  public var generation: UInt32
  public var id: UInt64

  public init(slot: UInt32, generation: UInt32, id: UInt64) {
    self.slot = slot
    self.generation = generation
    self.id = id
  }
}

/// What a computed call cost, as its answer tells it.
public struct AnswerTiming: Hashable, Sendable {
  /// From the arrival of the call's last byte to the start of its batch.
  public var queueMicroseconds: UInt32
  /// Of the whole batch.
  public var computeMicroseconds: UInt32
  /// Rows of the batch, this call's included.
  public var batchRows: UInt32

  public init(queueMicroseconds: UInt32, computeMicroseconds: UInt32, batchRows: UInt32) {
    self.queueMicroseconds = queueMicroseconds
    self.computeMicroseconds = computeMicroseconds
    self.batchRows = batchRows
  }
}

/// What a ``TickBatcher`` needs around it: the time, and a place for answers. A server gives sockets,
/// a test gives arrays and a clock that it moves by hand. Confined to the batcher's loop.
public protocol AnswerSink: AnyObject {
  /// Writes the answers of one version; made once per loop and version.
  associatedtype Encoder: AnyObject

  /// Reads the clock, and remembers what it said as ``time``.
  func now() -> Instant

  /// What the clock said last: near enough between two readings, at no cost.
  var time: Instant { get }

  func makeEncoder(for model: LiveModel) -> Encoder

  /// The outputs that a call names, as a bit per output of the plan; no name means all.
  /// - Throws: `.notFound` naming the output that does not exist.
  func selection(
    of names: UnsafeBufferPointer<UnsafeRawBufferPointer>, _ encoder: Encoder
  ) throws(ServingError) -> UInt64

  /// One computed call.
  /// - Parameter values: for every output of the plan its `rows × columns` floats, valid during the call.
  func answer(
    _ address: ReplyAddress, _ encoder: Encoder, rows: Int,
    values: UnsafeBufferPointer<UnsafePointer<Float>>, selection: UInt64, timing: AnswerTiming)

  /// One call that gets an error instead.
  func refuse(_ address: ReplyAddress, _ error: ServingError)

  /// Work follows that takes long: what was told so far should not wait for it.
  func sendReady()
}
