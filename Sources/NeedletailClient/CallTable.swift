internal import NeedletailCore
internal import NeedletailWire

/// The calls in flight on one connection: their ids, their callers, and the end of each. A state machine without I/O,
/// confined to the connection's loop.
///
/// A call is admitted, gets its id, and leaves once: by its answer, its timer, its caller's
/// cancellation, a GoAway that names it as not executed, or the end of the connection.
struct CallTable<Caller> {
  typealias Outcome = Result<ResponseMessage.Result, ClientError>

  /// An order to the connection that received a response.
  enum Action {
    case complete(Caller, Outcome)
    /// Fail these calls, which a server that stops did not execute. Close the connection once no call is in flight.
    case fail([Caller], ClientError)
    /// Do nothing: the caller no longer waits for the answer.
    case ignore
  }

  private enum State {
    case open
    /// The server stops: no new calls are admitted; those up to `lastID` still get their answers.
    case goingAway
    /// The connection is gone; the error says why.
    case ended(ClientError)
  }

  private var state = State.open
  private var callers: [UInt64: Caller] = [:]
  private var lastID: UInt64 = 0
  /// Error that the server sent about the connection itself, before it closed it.
  private var complaint: ServingError?

  var inFlight: Int { callers.count }

  /// Whether the server stops and no call is in flight any more.
  var isDrained: Bool {
    if case .goingAway = state { callers.isEmpty } else { false }
  }

  /// Admits a call.
  /// - Returns: the call's id, rising from 1 in the order of admission, which is the order on the wire.
  mutating func admit(_ caller: Caller) -> Result<UInt64, ClientError> {
    switch state {
    case .open:
      lastID += 1
      callers[lastID] = caller
      return .success(lastID)
    case .goingAway:
      return .failure(Self.goAway("the server is stopping and takes no new calls"))
    case .ended(let error):
      return .failure(error)
    }
  }

  mutating func receive(_ response: ResponseMessage) -> Action {
    if case .goAway(let lastExecuted) = response.result {
      if case .open = state { state = .goingAway }
      let refused = callers.keys.filter { $0 > lastExecuted }.sorted()
      let callers = refused.compactMap { self.callers.removeValue(forKey: $0) }
      return .fail(callers, Self.goAway("the server stopped before it executed this call"))
    }
    if response.id == 0, case .failed(let error) = response.result {
      complaint = error
      return .ignore
    }
    guard let caller = callers.removeValue(forKey: response.id) else { return .ignore }
    switch response.result {
    case .failed(let error):
      return .complete(
        caller,
        .failure(
          ClientError(
            error.code, origin: .server, error.message, retryAfterMicroseconds: error.retryAfterMicroseconds)))
    case let result:
      return .complete(caller, .success(result))
    }
  }

  /// Removes a call whose timer ran out or whose caller gave up: an answer is ignored from now on.
  mutating func remove(id: UInt64) -> Caller? {
    callers.removeValue(forKey: id)
  }

  mutating func update(id: UInt64, _ change: (inout Caller) -> Void) {
    if var caller = callers[id] {
      change(&caller)
      callers[id] = caller
    }
  }

  func id(where matches: (Caller) -> Bool) -> UInt64? {
    callers.first { matches($0.value) }?.key
  }

  /// Ends the table with its connection. Later calls fail with the same reason.
  /// - Returns: the callers that were waiting, and their error.
  mutating func end(_ error: ClientError) -> ([Caller], ClientError) {
    if case .ended(let first) = state { return ([], first) }
    let told =
      complaint.map {
        ClientError($0.code, origin: .server, $0.message, retryAfterMicroseconds: $0.retryAfterMicroseconds)
      } ?? error
    // A call made from now on never reaches the server.
    state = .ended(ClientError(told.code, origin: told.origin, told.message, isSafeToRetry: true))
    defer { callers.removeAll() }
    return (Array(callers.values), told)
  }

  private static func goAway(_ message: String) -> ClientError {
    ClientError(.unavailable, origin: .goAway, message, isSafeToRetry: true)
  }
}
