public import NeedletailClient

/// The server that gets the load.
public enum LoadTarget: Sendable, Hashable {
  case tcp(host: String, port: Int)
  case unix(path: String)
}

/// The rule by which the next request is sent.
public enum LoadPacing: Sendable, Equatable {
  /// By the clock: requests are sent when they are due, whether or not earlier ones were answered.
  case open(ratePerSecond: Double, arrivals: ArrivalSchedule.Arrivals)
  /// By the server: each answer lets one more request be sent.
  case closed
}

/// The complete description of one run.
public struct LoadPlan: Sendable {
  public var target: LoadTarget
  /// Encryption of connections over TCP; nil: none.
  public var tls: ClientTLS?
  public var pacing: LoadPacing
  public var threads = 1
  /// Connections of all threads together; every thread has at least one.
  public var connections = 1
  /// Largest number of calls in flight on one connection.
  public var depth = 1
  /// Time after which an answer counts as late.
  public var timeout: Duration = .seconds(10)
  /// Time at the start whose requests are sent, but not counted.
  public var warmup: Duration = .seconds(1)
  public var duration: Duration = .seconds(10)
  /// Bytes sent on every connection before its first call, such as an authentication; empty: none.
  public var greeting: [UInt8] = []
  public var frames: RequestFrames
  public var mix: ModelMix
  /// Checks of answers by model; nil: not checked.
  public var checks: [AnswerCheck?]
  /// Version asked for by model; nil: any.
  public var pinnedVersions: [UInt64?]
  /// Names by model.
  public var names: [String]
  public var seed: UInt64 = 1

  public init(target: LoadTarget, pacing: LoadPacing, frames: RequestFrames, mix: ModelMix, names: [String]) {
    self.target = target
    self.pacing = pacing
    self.frames = frames
    self.mix = mix
    self.names = names
    checks = names.map { _ in nil }
    pinnedVersions = names.map { _ in nil }
  }
}

extension Duration {
  /// Whole nanoseconds, at most about 584 years; 0 for a negative duration.
  public var wholeNanoseconds: UInt64 {
    guard self > .zero else { return 0 }
    let (product, overflow) = UInt64(components.seconds).multipliedReportingOverflow(by: 1_000_000_000)
    return overflow ? .max : product &+ UInt64(components.attoseconds / 1_000_000_000)
  }

  /// Seconds with a fraction.
  public var inSeconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}

/// The reason why no load could be made, in one sentence.
public struct LoadError: Error, Equatable, Sendable, CustomStringConvertible {
  public let description: String

  init(_ description: String) { self.description = description }
}
