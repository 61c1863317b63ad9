internal import NeedletailCore
internal import NeedletailWire

/// The calls in flight on one connection: which id is whose, and what becomes of each. Pure; confined
/// to the connection's loop.
///
/// A call is admitted, gets its id, and leaves once: by its answer, its timer, its caller's
/// cancellation, a GoAway that names it as not executed, or the end of the connection.
struct CallTable<Caller> {
  typealias Outcome = Result<ResponseMessage.Result, ClientError>

  /// What the connection has to do about a response.
  enum Action {
    case complete(Caller, Outcome)
    /// The server stops: these calls were not executed. Close once nothing is in flight.
    case fail([Caller], ClientError)
    /// An answer that nobody waits for any more.
    case ignore
  }

  private enum State {
    case open
    /// No new calls; those up to `lastID` still get their answers.
    case goingAway
    /// Nothing is in flight; the error says why.
    case ended(ClientError)
  }

  private var state = State.open
  private var callers: [UInt64: Caller] = [:]
  private var lastID: UInt64 = 0
  /// What the server said about the connection itself, before it closed it.
  private var complaint: ServingError?

  var inFlight: Int { callers.count }

  /// True when a connection whose server stops has nothing left to wait for.
  var isDrained: Bool {
    if case .goingAway = state { callers.isEmpty } else { false }
  }

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

  /// The call's timer ran out, or its caller gave up: an answer is ignored from now on.
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

  /// The connection is gone. Later calls fail with the same reason.
  /// - Returns: who was waiting, and what to tell them.
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
