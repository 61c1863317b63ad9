#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif
internal import NIOCore
internal import NIOPosix
internal import Synchronization
@_exported public import NeedletailCore
internal import NeedletailTLS
@_exported public import NeedletailWire

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
    /// To make the connection.
    public var connectTimeout: Duration = .seconds(5)
    /// Budget of calls that name none; nil: wait for ever.
    public var defaultTimeout: Duration? = .seconds(10)
    /// Nil: calls travel unencrypted.
    public var tls: ClientTLS?
    /// Shown when the connection is made; nil: none.
    public var apiKey: String?
    /// Longest answer accepted.
    public var frameBytesMax: Int = Limits.frameBytesHardCap

    public init() {}
  }

  private let channel: any Channel
  /// Touched on the channel's loop only.
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

  /// Shows a key; `connect` does so where its configuration has one. Another key may be shown at any
  /// time, and counts from the next call on.
  /// - Returns: the key's name at the server.
  @discardableResult
  public func authenticate(key: String, timeout: Duration? = nil) async throws(ClientError) -> String {
    guard case .authenticated(let principal) = try await call(.authenticate(key: key), timeout: timeout) else {
      throw Self.wrongAnswer("Authenticate")
    }
    return principal
  }

  /// Asks a model for an answer.
  /// - Parameters:
  ///   - inputs: either one `features` tensor or one column per feature.
  ///   - outputs: names of the outputs wanted; empty: all.
  ///   - routingKey: requests with the same key see the same version of a split rollout.
  ///   - priority: `.bulk` where nobody waits for the answer.
  ///   - timeout: the call's budget, here and at the server; nil: the configuration's.
  public func predict(
    _ model: String, selector: VersionSelector = .serving, inputs: [InputTensor], outputs: [String] = [],
    routingKey: String = "", priority: CallPriority = .interactive, timeout: Duration? = nil
  ) async throws(ClientError) -> Prediction {
    let request = RequestEncoder.Predict(
      model: model, selector: selector, inputs: inputs, outputs: outputs, routingKey: routingKey, priority: priority)
    guard case .predict(let prediction) = try await call(.predict(request), timeout: timeout) else {
      throw Self.wrongAnswer("Predict")
    }
    return prediction
  }

  /// Whether the server lives and takes traffic, and the state of its models.
  public func health(timeout: Duration? = nil) async throws(ClientError) -> HealthReport {
    guard case .health(let report) = try await call(.health, timeout: timeout) else {
      throw Self.wrongAnswer("Health")
    }
    return report
  }

  /// Prometheus text, as the admin port serves it.
  public func metrics(timeout: Duration? = nil) async throws(ClientError) -> String {
    guard case .metrics(let text) = try await call(.metrics, timeout: timeout) else {
      throw Self.wrongAnswer("Metrics")
    }
    return text
  }

  /// Every model of the store, with the state of its versions.
  public func listModels(timeout: Duration? = nil) async throws(ClientError) -> ModelListReport {
    guard case .models(let report) = try await call(.listModels, timeout: timeout) else {
      throw Self.wrongAnswer("ListModels")
    }
    return report
  }

  /// Inputs, outputs, labels and origin of a model version.
  public func describeModel(
    _ model: String, selector: VersionSelector = .serving, timeout: Duration? = nil
  ) async throws(ClientError) -> ModelDescription {
    guard case .description(let description) = try await call(.describeModel(model, selector), timeout: timeout)
    else { throw Self.wrongAnswer("DescribeModel") }
    return description
  }

  /// What happened to models, store and server after `sequence`, oldest first.
  /// - Parameter limit: at most so many; 0: all that the server keeps.
  public func events(
    after sequence: UInt64 = 0, limit: UInt32 = 0, timeout: Duration? = nil
  ) async throws(ClientError) -> EventListReport {
    guard case .events(let report) = try await call(.events(after: sequence, limit: limit), timeout: timeout) else {
      throw Self.wrongAnswer("Events")
    }
    return report
  }

  /// How requests of a model find their version.
  public func rollout(_ model: String, timeout: Duration? = nil) async throws(ClientError) -> RolloutReport {
    guard case .rollout(let report) = try await call(.rollout(model: model, isUndo: false), timeout: timeout) else {
      throw Self.wrongAnswer("Rollout")
    }
    return report
  }

  /// Takes one step of a model's rollout back; in force when this returns.
  public func undoRollout(of model: String, timeout: Duration? = nil) async throws(ClientError) -> RolloutReport {
    guard case .rollout(let report) = try await call(.rollout(model: model, isUndo: true), timeout: timeout) else {
      throw Self.wrongAnswer("Rollout")
    }
    return report
  }

  /// Ends the connection; calls in flight fail with `.closed`.
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
      // Seen by `send`, should it run after this.
      ticket.isCancelled.store(true, ordering: .relaxed)
      loop.execute { connection.value.cancel(ticket) }
    }
    return try outcome.get()
  }

  private static func wrongAnswer(_ call: String) -> ClientError {
    ClientError(.internal, origin: .protocolViolation, "\(call): the server answered with something else")
  }
}

/// Says in words why no connection was made.
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
