/// The order of calls that have to wait. Raw values are those of `needletail.v1.Priority`.
public enum CallPriority: UInt8, Sendable, CaseIterable {
  /// A person or a service waits for the answer.
  case interactive = 0
  /// Nobody waits: the call runs when no interactive call of its model waits, and is rejected first.
  case bulk = 1
}

/// Size of a call or of a batch: its rows, and the units of work that they hold.
///
/// A unit is what a model's cost grows with. For models of tables it is the row, so that both numbers are equal;
/// for models of text it is the token, so that a batch of mixed lengths costs what its tokens cost. Queues, cost
/// estimates, scratch and limits count units; answers are divided among callers by rows.
public struct BatchExtent: Equatable, Hashable, Sendable, BitwiseCopyable {
  /// Rows of input, each of which gets one row of answers.
  public var rows: Int
  /// Units of work, at least one a row.
  public var units: Int

  public static let zero = BatchExtent(rows: 0, units: 0)

  @inlinable
  public init(rows: Int, units: Int) {
    self.rows = rows
    self.units = units
  }

  /// Extent of rows that are one unit each, as in models of tables.
  @inlinable
  public init(rows: Int) { self.init(rows: rows, units: rows) }

  /// Sum of two extents. Both parts are bounded by `Limits`, so that the sum fits.
  @inlinable
  public static func + (a: BatchExtent, b: BatchExtent) -> BatchExtent {
    BatchExtent(rows: a.rows + b.rows, units: a.units + b.units)
  }

  @inlinable
  public static func += (a: inout BatchExtent, b: BatchExtent) { a = a + b }

  /// Whether this extent has no more rows and no more units than `other`.
  @inlinable
  public func fits(in other: BatchExtent) -> Bool { rows <= other.rows && units <= other.units }
}

/// Elements of a text tensor where they lie in a received frame or in a caller's memory, which it borrows.
///
/// An element is a place of eight bytes: four times the two bytes that an empty element takes in a frame, so that every
/// text that fits a frame fits the memory that decoding may spend on it.
public struct TextElements: RandomAccessCollection, BitwiseCopyable {
  /// Place of one element.
  public struct Place: BitwiseCopyable {
    /// Bytes between ``TextElements/base`` and the element.
    public var offset: UInt32
    public var count: UInt32

    @inlinable
    public init(offset: UInt32, count: UInt32) {
      self.offset = offset
      self.count = count
    }
  }

  /// Address that offsets count from.
  public var base: UnsafeRawPointer?
  public var places: UnsafeBufferPointer<Place>

  /// - Parameter base: begin of at most 4 GiB that hold all elements.
  @inlinable
  public init(base: UnsafeRawPointer? = nil, places: UnsafeBufferPointer<Place> = .init(start: nil, count: 0)) {
    self.base = base
    self.places = places
  }

  @inlinable public var startIndex: Int { 0 }
  @inlinable public var endIndex: Int { places.count }

  /// UTF-8 of one element as sent, unchecked.
  @inlinable
  public subscript(index: Int) -> UnsafeRawBufferPointer {
    let place = places[index]
    return UnsafeRawBufferPointer(start: base.map { $0 + Int(place.offset) }, count: Int(place.count))
  }
}

/// A tensor as it lies in a received frame or in a caller's memory. It borrows that memory, must not outlive it, and is
/// read on the thread that owns it.
///
/// Nothing in it has been checked: shape and byte counts are what the sender says.
public struct TensorView: BitwiseCopyable {
  /// Name in UTF-8 as sent, unchecked.
  public var name: UnsafeRawBufferPointer
  /// Element type; nil where the sender named a type that does not exist.
  public var type: DataType?
  /// Dimensions as sent, unchecked; the first one is the batch.
  public var shape: UnsafeBufferPointer<UInt64>
  /// Elements of numeric types: row-major, little-endian, without alignment.
  public var data: UnsafeRawBufferPointer
  /// Elements of a `.string` tensor: UTF-8 as sent, unchecked.
  public var strings: TextElements

  @inlinable
  public init(
    name: UnsafeRawBufferPointer, type: DataType?, shape: UnsafeBufferPointer<UInt64>,
    data: UnsafeRawBufferPointer, strings: TextElements = TextElements()
  ) {
    self.name = name
    self.type = type
    self.shape = shape
    self.data = data
    self.strings = strings
  }
}

/// The way in which a call ended. Raw values are those of `needletail.v1.StatusCode`.
public enum StatusCode: UInt8, Sendable, CaseIterable, CustomStringConvertible, BitwiseCopyable {
  case ok = 0
  case invalidArgument = 1
  case notFound = 2
  case unauthenticated = 3
  case permissionDenied = 4
  case deadlineExceeded = 5
  case overloaded = 6
  case unavailable = 7
  case `internal` = 8
  case unimplemented = 9

  /// The name on the wire and in metric labels, e.g. `INVALID_ARGUMENT`.
  public var description: String {
    switch self {
    case .ok: "OK"
    case .invalidArgument: "INVALID_ARGUMENT"
    case .notFound: "NOT_FOUND"
    case .unauthenticated: "UNAUTHENTICATED"
    case .permissionDenied: "PERMISSION_DENIED"
    case .deadlineExceeded: "DEADLINE_EXCEEDED"
    case .overloaded: "OVERLOADED"
    case .unavailable: "UNAVAILABLE"
    case .internal: "INTERNAL"
    case .unimplemented: "UNIMPLEMENTED"
    }
  }

  /// Whether the call was certainly not executed, so that trying again does no harm.
  public var isSafeToRetry: Bool { self == .overloaded || self == .unavailable }
}

/// The reason why a call got no answer: a code for programs and one sentence for people.
///
/// The sentence names the field, what was expected and what was found. It never has an address or a path in it, because
/// it goes to clients.
public struct ServingError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The code for programs.
  public let code: StatusCode
  private let sentence: String
  /// Microseconds after which the call may be tried again; 0 unless the code is `.overloaded`.
  public let retryAfterMicroseconds: UInt32
  /// Name of the model that the caller may have meant; the message asks for it.
  public let suggestedModel: String?
  /// The part of the request that the error is about, for programs; nil: none in particular.
  public let detail: ErrorDetail?

  /// Creates an error; codes without further values have functions of their own below.
  public init(
    _ code: StatusCode, _ sentence: String, retryAfterMicroseconds: UInt32 = 0, suggestedModel: String? = nil,
    detail: ErrorDetail? = nil
  ) {
    self.code = code
    self.sentence = sentence
    self.retryAfterMicroseconds = retryAfterMicroseconds
    self.suggestedModel = suggestedModel
    self.detail = detail
  }

  /// The sentence for people, with the question for the suggested model.
  public var message: String {
    suggestedModel.map { "\(sentence), did you mean \($0.quotedForMessage)?" } ?? sentence
  }

  /// This error for a caller that must not learn of the suggested model.
  public var withoutSuggestion: ServingError {
    ServingError(code, sentence, retryAfterMicroseconds: retryAfterMicroseconds, detail: detail)
  }

  /// Compares code, sentence and pause; ``detail`` says what the sentence says.
  public static func == (a: ServingError, b: ServingError) -> Bool {
    a.code == b.code && a.message == b.message && a.retryAfterMicroseconds == b.retryAfterMicroseconds
  }

  public var description: String { "\(code): \(message)" }

  public static func invalidArgument(_ message: String, _ detail: ErrorDetail? = nil) -> ServingError {
    .init(.invalidArgument, message, detail: detail)
  }
  public static func notFound(_ message: String, _ detail: ErrorDetail? = nil) -> ServingError {
    .init(.notFound, message, detail: detail)
  }
  public static func unauthenticated(_ message: String) -> ServingError { .init(.unauthenticated, message) }
  public static func permissionDenied(_ message: String) -> ServingError { .init(.permissionDenied, message) }
  public static func unavailable(_ message: String, _ detail: ErrorDetail? = nil) -> ServingError {
    .init(.unavailable, message, detail: detail)
  }
  public static func deadlineExceeded(_ message: String) -> ServingError { .init(.deadlineExceeded, message) }
  public static func unimplemented(_ message: String) -> ServingError { .init(.unimplemented, message) }
  public static func `internal`(_ message: String) -> ServingError { .init(.internal, message) }

  /// Error for an output that a model does not have.
  /// - Parameter names: the outputs that it has.
  public static func unknownOutput(_ name: String, among names: [String]) -> ServingError {
    .notFound(
      "outputs: expected one of \(names.map(\.quotedForMessage).joined(separator: ", ")), found "
        + name.quotedForMessage + Suggestion.clause(for: name, among: names), ErrorDetail(field: "outputs"))
  }
}
