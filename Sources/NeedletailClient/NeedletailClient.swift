@_exported public import NeedletailCore
@_exported public import NeedletailWire

/// One connection to a server: many calls in flight, answers matched by id. Anyone may call it.
public final class NeedletailClient: Sendable {
  public struct Configuration: Sendable {
    /// To make the connection.
    public var connectTimeout: Duration = .seconds(5)
    /// Budget of calls that name none; nil: wait for ever.
    public var defaultTimeout: Duration? = .seconds(10)
    /// Longest answer accepted.
    public var frameBytesMax: Int = 64 << 20

    public init() {}
  }

  public static func connect(
    to address: ServerAddress, configuration: Configuration = Configuration()
  ) async throws(ClientError) -> NeedletailClient { fatalError() }

  public func predict(
    _ model: String, selector: VersionSelector = .serving, inputs: [InputTensor], outputs: [String] = [],
    routingKey: String = "", timeout: Duration? = nil
  ) async throws(ClientError) -> Prediction { fatalError() }

  public func health(timeout: Duration? = nil) async throws(ClientError) -> HealthReport { fatalError() }
  public func metrics(timeout: Duration? = nil) async throws(ClientError) -> String { fatalError() }
  public func listModels(timeout: Duration? = nil) async throws(ClientError) -> ModelListReport { fatalError() }
  public func describeModel(
    _ model: String, selector: VersionSelector = .serving, timeout: Duration? = nil
  ) async throws(ClientError) -> ModelDescription { fatalError() }

  /// Ends the connection; calls in flight fail with `.closed`.
  public func close() async { fatalError() }
}
