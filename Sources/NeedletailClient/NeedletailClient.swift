internal import Glibc
internal import NIOCore
internal import NIOPosix
@_exported public import NeedletailCore
internal import NeedletailTLS
@_exported public import NeedletailWire
internal import Synchronization

/// One connection to a server: many calls in flight, answers matched by id.
///
/// Anyone may call it, from any task. Every call throws a ``ClientError`` that says whether the
/// server may have executed it. The connection is not re-made: once it is lost, or the server
/// announced its end, every call fails, and `connect` makes a new one.
///
/// ```swift
/// let client = try await NeedletailClient.connect(to: .standard)
/// let answer = try await client.predict("wine", inputs: [.features(row, columns: 13)], timeout: .milliseconds(5))
/// print(answer.version, answer.strings("label") ?? [])
/// ```
public final class NeedletailClient: Sendable {
  public struct Configuration: Sendable {
    /// Time for making the connection.
    public var connectTimeout: Duration = .seconds(5)
    /// Budget of calls that name none; nil: unlimited.
    public var defaultTimeout: Duration? = .seconds(10)
    /// Encryption; nil: none.
    public var tls: ClientTLS?
    /// API key with which each new connection authenticates; nil: none.
    public var apiKey: String?
    /// Bytes of the longest answer that is accepted.
    public var frameBytesMax: Int = Limits.frameBytesHardCap

    public init() {}
  }

  private let channel: any Channel
  /// State of the connection, used on the channel's loop only.
  private let connection: NIOLoopBound<ClientConnection>
  private let configuration: Configuration

  private init(channel: any Channel, connection: NIOLoopBound<ClientConnection>, configuration: Configuration) {
    self.channel = channel
    self.connection = connection
    self.configuration = configuration
  }

  deinit {
    channel.close(promise: nil)
  }

  /// - Throws: a `.connect` error that names the address and the reason; the server's own where it does
  ///   not accept the key.
  public static func connect(
    to address: ServerAddress, configuration: Configuration = Configuration()
  ) async throws(ClientError) -> NeedletailClient {
    let client = try await open(address, configuration)
    guard let key = configuration.apiKey else { return client }
    do throws(ClientError) {
      _ = try await client.authenticate(key: key, timeout: configuration.connectTimeout)
    } catch {
      await client.close()
      throw error
    }
    return client
  }

  private static func open(
    _ address: ServerAddress, _ configuration: Configuration
  ) async throws(ClientError) -> NeedletailClient {
    let tls: TLSSession.Role?
    if let settings = configuration.tls {
      guard case .tcp(let host, _) = address else {
        throw ClientError(
          .invalidArgument, origin: .invalidInput,
          "TLS: expected a TCP address, found \(address): calls over Unix sockets are not encrypted")
      }
      tls = try settings.role(for: host)
    } else {
      tls = nil
    }
    let attempts = Attempts()
    let bootstrap = ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .connectTimeout(TimeAmount(configuration.connectTimeout))
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          var handshake: ClientHandshake?
          if let tls {
            let awaited = ClientHandshake(on: channel.eventLoop, within: TimeAmount(configuration.connectTimeout))
            try channel.pipeline.syncOperations.addHandlers(TLSHandler(tls), awaited)
            handshake = awaited
          }
          let connection = ClientConnection(frameBytesMax: configuration.frameBytesMax)
          try channel.pipeline.syncOperations.addHandler(connection)
          attempts.add(
            .init(connection: NIOLoopBound(connection, eventLoop: channel.eventLoop), handshake: handshake?.done),
            of: channel)
        }
      }
    do {
      let channel: any Channel
      switch address {
      case .tcp(let host, let port):
        channel =
          try await bootstrap
          .channelOption(.tcpOption(.tcp_nodelay), value: 1)
          .connect(host: host, port: port).get()
      case .unix(let path):
        channel = try await bootstrap.connect(unixDomainSocketPath: path).get()
      }
      let attempt = attempts.attempt(of: channel)
      try await attempt.handshake?.get()
      return NeedletailClient(channel: channel, connection: attempt.connection, configuration: configuration)
    } catch let error as ClientError {
      throw error
    } catch {
      throw ClientError(
        .unavailable, origin: .connect, "cannot connect to \(address): \(ConnectFailure.reason(of: error))",
        isSafeToRetry: true)
    }
  }

  // MARK: calls

  /// Shows the server an API key, which counts from the next call on.
  ///
  /// `connect` does this if its configuration has a key.
  /// - Parameters:
  ///   - key: The key as `needletail key create` printed it.
  ///   - timeout: Budget of the call, on both sides; nil: `Configuration.defaultTimeout`.
  /// - Returns: Name of the key at the server.
  /// - Throws: A ``ClientError``; `.unauthenticated` if the server does not know the key.
  @discardableResult
  public func authenticate(key: String, timeout: Duration? = nil) async throws(ClientError) -> String {
    guard case .authenticated(let principal) = try await call(.authenticate(key: key), timeout: timeout) else {
      throw Self.wrongAnswer("Authenticate")
    }
    return principal
  }

  /// Asks a model for predictions.
  /// - Parameters:
  ///   - model: Name of the model.
  ///   - selector: The version to ask, by number or label; without one the rollout chooses.
  ///   - inputs: Either one `features` tensor or one column for each feature.
  ///   - outputs: Names of the outputs to return; empty: all of them.
  ///   - routingKey: Calls with the same key, at most 256 bytes, get the same version of a split rollout.
  ///   - priority: `.bulk` for work that nobody waits for, which an overloaded server serves last.
  ///   - key: Name of the call, at most 256 bytes, by which ``feedback(_:outcomes:timeout:)`` finds it later; empty: the
  ///     routing key names it.
  ///   - traceparent: The trace that the call belongs to, as W3C Trace Context writes it, for a server that exports spans.
  ///   - timeout: Budget of the call, on both sides; nil: `Configuration.defaultTimeout`.
  /// - Returns: The outputs, and the version that computed them.
  /// - Throws: A ``ClientError`` that says whether the call may be repeated.
  public func predict(
    _ model: String, selector: VersionSelector = .serving, inputs: [InputTensor], outputs: [String] = [],
    routingKey: String = "", priority: CallPriority = .interactive, key: String = "", traceparent: String = "",
    timeout: Duration? = nil
  ) async throws(ClientError) -> Prediction {
    let request = RequestEncoder.Predict(
      model: model, selector: selector, inputs: inputs, outputs: outputs, routingKey: routingKey, priority: priority,
      key: key, traceparent: traceparent)
    guard case .predict(let prediction) = try await call(.predict(request), timeout: timeout) else {
      throw Self.wrongAnswer("Predict")
    }
    return prediction
  }

  /// Asks whether the server takes traffic, and for the state of its models.
  /// - Parameter timeout: Budget of the call, on both sides; nil: `Configuration.defaultTimeout`.
  /// - Throws: A ``ClientError``.
  public func health(timeout: Duration? = nil) async throws(ClientError) -> HealthReport {
    guard case .health(let report) = try await call(.health, timeout: timeout) else {
      throw Self.wrongAnswer("Health")
    }
    return report
  }

  /// Reads the server's metrics.
  /// - Parameter timeout: Budget of the call, on both sides; nil: `Configuration.defaultTimeout`.
  /// - Returns: Text in Prometheus' exposition format, as `GET /metrics` of the admin port.
  /// - Throws: A ``ClientError``.
  public func metrics(timeout: Duration? = nil) async throws(ClientError) -> String {
    guard case .metrics(let text) = try await call(.metrics, timeout: timeout) else {
      throw Self.wrongAnswer("Metrics")
    }
    return text
  }

  /// Lists every model of the store with the state of its versions.
  /// - Parameter timeout: Budget of the call, on both sides; nil: `Configuration.defaultTimeout`.
  /// - Throws: A ``ClientError``.
  public func listModels(timeout: Duration? = nil) async throws(ClientError) -> ModelListReport {
    guard case .models(let report) = try await call(.listModels, timeout: timeout) else {
      throw Self.wrongAnswer("ListModels")
    }
    return report
  }

  /// Describes one version: inputs, outputs, labels, metrics and origin.
  /// - Parameters:
  ///   - model: Name of the model.
  ///   - selector: The version to describe, by number or label; without one the version that serves.
  ///   - timeout: Budget of the call, on both sides; nil: `Configuration.defaultTimeout`.
  /// - Throws: A ``ClientError``; `.notFound` if there is no such model, version or label.
  public func describeModel(
    _ model: String, selector: VersionSelector = .serving, timeout: Duration? = nil
  ) async throws(ClientError) -> ModelDescription {
    guard case .description(let description) = try await call(.describeModel(model, selector), timeout: timeout)
    else { throw Self.wrongAnswer("DescribeModel") }
    return description
  }

  /// Reads what happened to models, store and server, oldest event first.
  /// - Parameters:
  ///   - sequence: Number of the last event already seen; 0: from the first one that the server keeps.
  ///   - limit: Largest number of events to return; 0: all that the server keeps.
  ///   - timeout: Budget of the call, on both sides; nil: `Configuration.defaultTimeout`.
  /// - Throws: A ``ClientError``.
  public func events(
    after sequence: UInt64 = 0, limit: UInt32 = 0, timeout: Duration? = nil
  ) async throws(ClientError) -> EventListReport {
    guard case .events(let report) = try await call(.events(after: sequence, limit: limit), timeout: timeout) else {
      throw Self.wrongAnswer("Events")
    }
    return report
  }

  /// Reads which versions of a model answer, and with what share of the traffic.
  /// - Parameters:
  ///   - model: Name of the model.
  ///   - timeout: Budget of the call, on both sides; nil: `Configuration.defaultTimeout`.
  /// - Throws: A ``ClientError``.
  public func rollout(_ model: String, timeout: Duration? = nil) async throws(ClientError) -> RolloutReport {
    guard case .rollout(let report) = try await call(.rollout(model: model, undo: nil), timeout: timeout) else {
      throw Self.wrongAnswer("Rollout")
    }
    return report
  }

  /// Takes one step of a model's rollout back.
  /// - Parameters:
  ///   - model: Name of the model.
  ///   - version: The version to take the traffic from; nil: the arms of the split, else the version that serves.
  ///   - isForced: Whether to go on although the guard has gone back already.
  ///   - timeout: Budget of the call, on both sides; nil: `Configuration.defaultTimeout`.
  /// - Returns: The rollout after the step, which is in force by then. `stateProblem` says if it is not on the disk.
  /// - Throws: A ``ClientError``; `.notFound` if there is nothing to go back to, `.invalidArgument` if the guard has gone
  ///   back already.
  public func undoRollout(
    of model: String, from version: UInt64? = nil, isForced: Bool = false, timeout: Duration? = nil
  ) async throws(ClientError) -> RolloutReport {
    let undo = RolloutUndo(version: version ?? 0, isForced: isForced)
    guard case .rollout(let report) = try await call(.rollout(model: model, undo: undo), timeout: timeout) else {
      throw Self.wrongAnswer("Rollout")
    }
    return report
  }

  /// Asks what the server is: version, features, and the limits in force.
  /// - Parameter timeout: Budget of the call, on both sides; nil: `Configuration.defaultTimeout`.
  /// - Throws: A ``ClientError``; `.unimplemented` from servers that do not know the call.
  public func serverInfo(timeout: Duration? = nil) async throws(ClientError) -> ServerInfoReport {
    guard case .serverInfo(let report) = try await call(.serverInfo, timeout: timeout) else {
      throw Self.wrongAnswer("ServerInfo")
    }
    return report
  }

  /// Reports what became of predictions, so that the server can say how good a model is.
  /// - Parameters:
  ///   - model: Name of the model.
  ///   - outcomes: What became of rows of earlier calls, at most 1,024 of them.
  ///   - timeout: Budget of the call, on both sides; nil: `Configuration.defaultTimeout`.
  /// - Returns: What came of the outcomes. Repeating a call is safe: what was counted is not counted again.
  /// - Throws: A ``ClientError``; `.unimplemented` from servers that remember no predictions of the model.
  public func feedback(
    _ model: String, outcomes: [ReportedOutcome], timeout: Duration? = nil
  ) async throws(ClientError) -> FeedbackReport {
    guard case .feedback(let report) = try await call(.feedback(model: model, outcomes), timeout: timeout) else {
      throw Self.wrongAnswer("Feedback")
    }
    return report
  }

  /// Ends the connection. Calls in flight fail with the origin `.closed`.
  public func close() async {
    channel.eventLoop.execute { [connection] in connection.value.close() }
    try? await channel.closeFuture.get()
  }

  private func call(
    _ call: RequestEncoder.Call, timeout: Duration?
  ) async throws(ClientError) -> ResponseMessage.Result {
    let timeout = timeout ?? configuration.defaultTimeout
    let ticket = CallTicket()
    let loop = channel.eventLoop
    let outcome = await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        loop.execute { [connection] in
          connection.value.send(call, timeout: timeout, ticket: ticket, continuation: continuation)
        }
      }
    } onCancel: { [connection] in
      // `send` sees it if it runs after this.
      ticket.isCancelled.store(true, ordering: .relaxed)
      loop.execute { connection.value.cancel(ticket) }
    }
    return try outcome.get()
  }

  private static func wrongAnswer(_ call: String) -> ClientError {
    ClientError(.internal, origin: .protocolViolation, "\(call): the server answered with something else")
  }
}

/// The reason in words why no connection was made.
private enum ConnectFailure {
  static func reason(of error: any Error) -> String {
    switch error {
    case let error as TLSError: return error.sentence
    case ChannelError.eof: return "the server closed the connection"
    case let error as NIOConnectionError:
      if let dns = error.dnsAError ?? error.dnsAAAAError, error.connectionErrors.isEmpty {
        return "the host is not known (\(dns))"
      }
      return error.connectionErrors.first.map { reason(of: $0.error) } ?? "no address answers"
    case let error as IOError:
      return String(cString: strerror(error.errnoCode)).lowercased()
    case ChannelError.connectTimeout(let amount):
      return "no answer within \(amount.nanoseconds / 1_000_000) ms"
    default:
      return "\(error)"
    }
  }
}

/// The reason why a call gave no answer.
public struct ClientError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The part that ended the call.
  public enum Origin: Sendable, Equatable {
    /// The server answered with this status.
    case server
    /// No connection could be made.
    case connect
    /// The connection ended while the call was in flight.
    case connectionLost
    /// The call's own timer ran out before an answer came.
    case deadline
    /// The server announced its end before the call was sent, or without executing it.
    case goAway
    /// The caller's task was cancelled.
    case cancelled
    /// The client was closed.
    case closed
    /// The server sent bytes that are no answer.
    case protocolViolation
    /// The call cannot be encoded.
    case invalidInput
  }

  /// Status of the protocol.
  public let code: StatusCode
  /// The part that ended the call: the server, the connection or the caller.
  public let origin: Origin
  /// One sentence for people: the field, what was expected, what was found.
  public let message: String
  /// Pause that the server asks for before the call is repeated; 0 unless the code is `.overloaded`.
  public let retryAfterMicroseconds: UInt32
  /// True if the server certainly did not execute the call.
  public let isSafeToRetry: Bool
  /// The part of the request that the error is about, as the server names it; nil: none in particular.
  public let detail: ErrorDetail?

  /// Makes an error.
  /// - Parameters:
  ///   - code: Status of the protocol.
  ///   - origin: The part that ended the call.
  ///   - message: One sentence for people.
  ///   - retryAfterMicroseconds: Pause before the call may be repeated; 0: none is asked for.
  ///   - isSafeToRetry: Whether the server certainly did not execute the call; nil: what the code implies.
  ///   - detail: The part of the request that the error is about.
  public init(
    _ code: StatusCode, origin: Origin, _ message: String, retryAfterMicroseconds: UInt32 = 0,
    isSafeToRetry: Bool? = nil, detail: ErrorDetail? = nil
  ) {
    self.code = code
    self.origin = origin
    self.message = message
    self.retryAfterMicroseconds = retryAfterMicroseconds
    self.isSafeToRetry = isSafeToRetry ?? code.isSafeToRetry
    self.detail = detail
  }

  public var description: String { "\(code): \(message)" }
}
