public import NeedletailCore

/// A decoded response, as a client sees it.
public struct ResponseMessage: Sendable, Equatable {
  public enum Result: Sendable, Equatable {
    case predict(Prediction)
    case health(HealthReport)
    case metrics(String)
    case models(ModelListReport)
    case description(ModelDescription)
    case authenticated(principal: String)
    case goAway(lastID: UInt64)
    case events(EventListReport)
    case rollout(RolloutReport)
    /// The call failed: `error` tells why.
    case failed(ServingError)
    /// No result, or one that this client does not know.
    case none
  }

  /// 0 on `goAway` and where the request's id could not be read.
  public var id: UInt64
  public var result: Result

  public init(id: UInt64, result: Result) {
    self.id = id
    self.result = result
  }
}
