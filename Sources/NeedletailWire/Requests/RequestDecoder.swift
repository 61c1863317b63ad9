public import NeedletailCore
public import NeedletailProtobuf

/// A decoded request. It borrows: it must not outlive the arena's next reset, nor the frame.
public struct RequestView {
  public enum Call {
    case predict(PredictView)
    case health
    case metrics
    case listModels
    case describeModel(DescribeView)
    /// Key as sent, unchecked.
    case authenticate(UnsafeRawBufferPointer)
    /// At most `limit` events after a sequence number; 0: all.
    case events(after: UInt64, limit: UInt32)
    /// Name of the model as sent, and the step to take back; nil: only to report.
    case rollout(model: UnsafeRawBufferPointer, undo: RolloutUndo?)
    case serverInfo
    case feedback(FeedbackView)
    /// No call, or one that this server does not know: `UNIMPLEMENTED`.
    case none
  }

  public var id: UInt64
  /// Budget from the arrival of the frame's last byte in microseconds; 0: none.
  public var timeoutMicroseconds: UInt32
  /// Trace of the caller as sent, unchecked; empty where it sent none.
  public var traceparent: UnsafeRawBufferPointer
  public var call: Call

  public init(
    id: UInt64, timeoutMicroseconds: UInt32,
    traceparent: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0), call: Call
  ) {
    self.id = id
    self.timeoutMicroseconds = timeoutMicroseconds
    self.traceparent = traceparent
    self.call = call
  }
}

/// A predict call as sent; names are bytes, unchecked.
public struct PredictView {
  public var model: UnsafeRawBufferPointer
  public var selector: ModelSelector
  public var tensors: UnsafeBufferPointer<TensorView>
  /// Names of the outputs wanted; empty: all.
  public var outputs: UnsafeBufferPointer<UnsafeRawBufferPointer>
  public var routingKey: UnsafeRawBufferPointer
  /// Name of the call for outcomes that come later; empty: the routing key is it.
  public var key = UnsafeRawBufferPointer(start: nil, count: 0)
  /// Priority; a level that this server does not know counts as the lowest one.
  public var priority = CallPriority.interactive
  /// Rows that the first tensor's shape declares, whatever its other fields hold; 1 without a tensor or a shape.
  public var rows: UInt64 = 1
  /// Bytes of all tensors as they were sent: their texts have no more.
  public var inputBytes = 0

  /// Bytes that name the call for outcomes that come later; empty: nothing does.
  public var name: UnsafeRawBufferPointer { key.isEmpty ? routingKey : key }

  /// View without tensors and names of outputs.
  /// - Parameter rows: rows that the call declares.
  public init(
    model: UnsafeRawBufferPointer, selector: ModelSelector,
    routingKey: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0), rows: UInt64 = 1
  ) {
    self.model = model
    self.selector = selector
    self.routingKey = routingKey
    self.rows = rows
    tensors = UnsafeBufferPointer(start: nil, count: 0)
    outputs = UnsafeBufferPointer(start: nil, count: 0)
  }
}

/// Tensors and names of outputs of a predict call whose head was read. Borrows the frame.
public struct PredictBody {
  var payloads: CallPayloads?
  var tensorCount = 0
  var outputCount = 0
  var lastTensor = UnsafeRawBufferPointer(start: nil, count: 0)
  var lastOutput = UnsafeRawBufferPointer(start: nil, count: 0)

  /// Body without tensors and names.
  public init() {}
}

/// A describe call as sent.
public struct DescribeView {
  public var model: UnsafeRawBufferPointer
  public var selector: ModelSelector

  public init(model: UnsafeRawBufferPointer, selector: ModelSelector) {
    self.model = model
    self.selector = selector
  }
}

/// Reads the `Request` of one frame, without copying what it can point to.
///
/// It is written by hand because of the memory budget: libprotobuf-c spends 60 to 90 bytes on a cell of a string column
/// that takes 5 on the wire, so that honest requests would be refused with the hostile ones, and it copies every byte of
/// every tensor. Here an unknown field costs nothing, an element of a string tensor 8 bytes, and a tensor 80 bytes
/// beside its shape. A string keeps its length, so that a NUL inside a name cannot shorten it to another name. The tests
/// compare this decoder with libprotobuf-c and with Google's protobuf.
public enum RequestDecoder {
  /// Reads a whole request.
  /// - Parameters:
  ///   - frame: the bytes after the length word; the view borrows them.
  ///   - arena: reset here; it owns the view's arrays until its next reset.
  /// - Throws: `.invalidArgument`, which goes to the id that ``peekID(_:)`` finds.
  /// - Complexity: O(bytes of keys, names and strings), two passes; tensor data is not touched.
  public static func decode(
    _ frame: UnsafeRawBufferPointer, arena: MessageArena
  ) throws(ServingError) -> RequestView {
    var (view, body) = try decodeHead(frame, arena: arena)
    if case .predict(var predict) = view.call {
      (predict.tensors, predict.outputs) = try body.decode(arena: arena)
      view.call = .predict(predict)
    }
    return view
  }

  /// Reads a request without the tensors of a predict call: all that decides whether the call is taken on. What is
  /// left is read by ``PredictBody/decode(arena:)``, so that a call that is taken on is not read twice.
  /// - Parameters:
  ///   - frame: the bytes after the length word; view and body borrow them.
  ///   - arena: reset here.
  /// - Throws: `.invalidArgument`, which goes to the id that ``peekID(_:)`` finds.
  /// - Complexity: O(number of tensors and names); tensor data is not touched.
  public static func decodeHead(
    _ frame: UnsafeRawBufferPointer, arena: MessageArena
  ) throws(ServingError) -> (view: RequestView, body: PredictBody) {
    arena.reset(budgetBytes: MessageArena.budgetBytes(frameBytes: frame.count))
    var envelope = Envelope()
    try envelope.read(frame)
    var body = PredictBody()
    let call: RequestView.Call =
      switch envelope.call {
      case .predict: .predict(try PredictDecoder.decodeHead(envelope.payloads, body: &body))
      case .health: .health
      case .metrics: .metrics
      case .listModels: .listModels
      case .describeModel: .describeModel(try describe(envelope.payloads))
      case .authenticate: .authenticate(try authenticate(envelope.payloads))
      case .events: try events(envelope.payloads)
      case .rollout: try rollout(envelope.payloads)
      case .serverInfo: .serverInfo
      case .feedback: .feedback(try FeedbackView.head(envelope.payloads))
      case nil: .none
      }
    let view = RequestView(
      id: envelope.id, timeoutMicroseconds: envelope.timeoutMicroseconds, traceparent: envelope.traceparent, call: call)
    return (view, body)
  }

  /// The request's id as far as the bytes can be read, or 0: an error about an undecodable request
  /// should still reach its caller.
  public static func peekID(_ frame: UnsafeRawBufferPointer) -> UInt64 {
    var envelope = Envelope()
    // The id may have been read before the fault.
    try? envelope.read(frame)
    return envelope.id
  }

  private static func describe(_ payloads: CallPayloads) throws(ServingError) -> DescribeView {
    var view = DescribeView(model: .init(start: nil, count: 0), selector: .serving)
    var calls = payloads
    while let payload = try calls.next() {
      var fields = MessageCursor(payload, of: "DescribeModelRequest")
      while let field = try fields.next() {
        switch (field.number, field.value) {
        case (1, .bytes(let name)): view.model = name
        case (2, .varint(let version)): view.selector = .version(version)
        case (3, .bytes(let label)): view.selector = .label(label)
        default: break
        }
      }
    }
    return view
  }

  private static func authenticate(_ payloads: CallPayloads) throws(ServingError) -> UnsafeRawBufferPointer {
    var key = UnsafeRawBufferPointer(start: nil, count: 0)
    var calls = payloads
    while let payload = try calls.next() {
      var fields = MessageCursor(payload, of: "AuthenticateRequest")
      while let field = try fields.next() {
        if field.number == 1, case .bytes(let bytes) = field.value { key = bytes }
      }
    }
    return key
  }

  private static func events(_ payloads: CallPayloads) throws(ServingError) -> RequestView.Call {
    var after: UInt64 = 0
    var limit: UInt32 = 0
    var calls = payloads
    while let payload = try calls.next() {
      var fields = MessageCursor(payload, of: "EventsRequest")
      while let field = try fields.next() {
        switch (field.number, field.value) {
        case (1, .varint(let value)): after = value
        case (2, .varint(let value)): limit = UInt32(truncatingIfNeeded: value)
        default: break
        }
      }
    }
    return .events(after: after, limit: limit)
  }

  /// - Throws: `.invalidArgument` for an action that this server does not know: executing another action would be worse.
  private static func rollout(_ payloads: CallPayloads) throws(ServingError) -> RequestView.Call {
    var model = UnsafeRawBufferPointer(start: nil, count: 0)
    var action: UInt64 = 0
    var undo = RolloutUndo()
    var calls = payloads
    while let payload = try calls.next() {
      var fields = MessageCursor(payload, of: "RolloutRequest")
      while let field = try fields.next() {
        switch (field.number, field.value) {
        case (1, .bytes(let name)): model = name
        case (2, .varint(let value)): action = value
        case (3, .varint(let value)): undo.version = value
        case (4, .varint(let value)): undo.isForced = value != 0
        default: break
        }
      }
    }
    guard action <= 1 else {
      throw .invalidArgument("action: expected ROLLOUT_SHOW or ROLLOUT_UNDO, found \(action)")
    }
    return .rollout(model: model, undo: action == 1 ? undo : nil)
  }
}

/// Which step of a rollout to take back.
public struct RolloutUndo: Sendable, Equatable {
  /// The version to take the traffic from; 0: the arms of the split, else the version that serves.
  public var version: UInt64
  /// Whether to go on although the guard has gone back already.
  public var isForced: Bool

  public init(version: UInt64 = 0, isForced: Bool = false) {
    self.version = version
    self.isForced = isForced
  }
}

/// Field numbers of the calls in `Request`.
enum CallNumber: UInt32 {
  case predict = 3
  case health = 4
  case metrics = 5
  case listModels = 6
  case describeModel = 7
  case authenticate = 8
  case events = 9
  case rollout = 10
  case serverInfo = 11
  case feedback = 12
}

/// The fields of a `Request` itself.
private struct Envelope {
  var id: UInt64 = 0
  var timeoutMicroseconds: UInt32 = 0
  var traceparent = UnsafeRawBufferPointer(start: nil, count: 0)
  /// The last member of the oneof wins.
  var call: CallNumber?
  /// Bytes of the call. If it occurs more than once, these are its first occurrence after a different call; protobuf
  /// merges the following ones, which are in ``rest``.
  var payload = UnsafeRawBufferPointer(start: nil, count: 0)
  /// Bytes behind ``payload`` in which the call occurs again; empty if it does not.
  var rest = UnsafeRawBufferPointer(start: nil, count: 0)

  var payloads: CallPayloads { CallPayloads(first: payload, rest: rest, number: call?.rawValue ?? 0) }

  mutating func read(_ frame: UnsafeRawBufferPointer) throws(ServingError) {
    var fields = MessageCursor(frame, of: "Request")
    var end = 0
    while let field = try fields.next() {
      switch (field.number, field.value) {
      case (1, .varint(let value)): id = value
      case (2, .varint(let value)): timeoutMicroseconds = UInt32(truncatingIfNeeded: value)
      case (13, .bytes(let text)): traceparent = text
      case (_, .bytes(let bytes)):
        guard let next = CallNumber(rawValue: field.number) else { continue }
        if next != call {
          (call, payload, end) = (next, bytes, fields.offset)
          rest = UnsafeRawBufferPointer(start: nil, count: 0)
        } else {
          rest = UnsafeRawBufferPointer(rebasing: frame[end...])
        }
      default: break
      }
    }
  }
}

/// The occurrences of one call in a frame whose envelope was read before: nearly always one.
struct CallPayloads {
  private var first: UnsafeRawBufferPointer?
  private var rest: MessageCursor
  private let number: UInt32

  fileprivate init(first: UnsafeRawBufferPointer, rest: UnsafeRawBufferPointer, number: UInt32) {
    self.first = first
    self.rest = MessageCursor(rest, of: "Request")
    self.number = number
  }

  mutating func next() throws(ServingError) -> UnsafeRawBufferPointer? {
    if let payload = first {
      first = nil
      return payload
    }
    while let field = try rest.next() {
      if field.number == number, case .bytes(let payload) = field.value { return payload }
    }
    return nil
  }
}
