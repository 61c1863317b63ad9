/// What a server says of itself: the answer to `ServerInfo`.
public struct ServerInfoReport: Sendable, Equatable {
  /// Name of the software.
  public var name = ""
  public var version = ""
  /// The instruction set that plans are compiled for.
  public var isa = ""
  /// What the server offers beside the calls that every server has.
  public var features: [String] = []
  public var limits = ServerLimits()

  public init() {}
}

/// Limits in force; 0 stands for one that the server does not tell.
public struct ServerLimits: Sendable, Equatable {
  public var requestBytesMax: UInt64 = 0
  public var answerBytesMax: UInt64 = 0
  /// Rows of one call.
  public var rowsMax: UInt64 = 0
  /// Calls in flight on one connection, and of these those that are no predictions.
  public var callsInFlightMax: UInt64 = 0
  public var otherCallsInFlightMax: UInt64 = 0
  /// Tensors of one call, dimensions of one of them, and names of outputs.
  public var tensorsMax: UInt64 = 0
  public var dimensionsMax: UInt64 = 0
  public var outputNamesMax: UInt64 = 0
  public var routingKeyBytesMax: UInt64 = 0
  /// Bytes of one text in a column of text.
  public var textBytesMax: UInt64 = 0
  /// Bytes of the answers of one connection that are computed or wait to be read.
  public var outputBytesMax: UInt64 = 0
  /// Silence after which a connection is closed.
  public var idleMilliseconds: UInt64 = 0

  public init() {}
}

extension ServerInfoReport: WireMessage {
  static let wireName: StaticString = "ServerInfoResponse"

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    fields.text(1, &name)
    fields.text(2, &version)
    fields.text(3, &isa)
    fields.texts(4, &features)
    var told: ServerLimits? = limits
    try fields.message(5, &told)
    limits = told ?? ServerLimits()
  }
}

extension ServerLimits: WireMessage {
  static let wireName: StaticString = "ServerLimits"

  mutating func visit<Visitor: FieldVisitor>(_ fields: inout Visitor) throws(Visitor.Failure) {
    fields.number(1, &requestBytesMax)
    fields.number(2, &answerBytesMax)
    fields.number(3, &rowsMax)
    fields.number(4, &callsInFlightMax)
    fields.number(5, &otherCallsInFlightMax)
    fields.number(6, &tensorsMax)
    fields.number(7, &dimensionsMax)
    fields.number(8, &outputNamesMax)
    fields.number(9, &routingKeyBytesMax)
    fields.number(10, &textBytesMax)
    fields.number(11, &outputBytesMax)
    fields.number(12, &idleMilliseconds)
  }
}

extension ServerInfoReport {
  package var json: JSONObject {
    ["name": name, "version": version, "isa": isa, "features": features, "limits": limits.json]
  }
}

extension ServerLimits {
  /// Every limit by its name in the protocol, in the order of its fields.
  package var named: [(name: String, value: UInt64)] {
    [
      ("request_bytes_max", requestBytesMax), ("answer_bytes_max", answerBytesMax), ("rows_max", rowsMax),
      ("calls_in_flight_max", callsInFlightMax), ("other_calls_in_flight_max", otherCallsInFlightMax),
      ("tensors_max", tensorsMax), ("dimensions_max", dimensionsMax), ("output_names_max", outputNamesMax),
      ("routing_key_bytes_max", routingKeyBytesMax), ("text_bytes_max", textBytesMax),
      ("output_bytes_max", outputBytesMax), ("idle_ms", idleMilliseconds),
    ]
  }

  package var json: JSONObject {
    JSONObject(named.map { (name: $0.name, value: $0.value) })
  }
}
