public import NeedletailClient

/// Where the load goes.
public enum LoadTarget: Sendable, Hashable {
  case tcp(host: String, port: Int)
  case unix(path: String)
}

/// Who decides when the next request leaves.
public enum LoadPacing: Sendable, Equatable {
  /// The clock: requests leave when they are due, whether or not earlier ones were answered.
  case open(ratePerSecond: Double, arrivals: ArrivalSchedule.Arrivals)
  /// The server: every answer lets one more request leave.
  case closed
}

/// One run of load, complete.
public struct LoadPlan: Sendable {
  public var target: LoadTarget
  /// How connections over TCP are encrypted; nil: not at all.
  public var tls: ClientTLS?
  public var pacing: LoadPacing
  public var threads = 1
  /// Of all threads together; at least one a thread.
  public var connections = 1
  /// Calls in flight of one connection.
  public var depth = 1
  /// Answers after this are no goodput.
  public var timeout: Duration = .seconds(10)
  /// Requests of this time are sent, but not counted.
  public var warmup: Duration = .seconds(1)
  public var duration: Duration = .seconds(10)
  /// Sent on every connection before its first call, e.g. a key; empty: nothing.
  public var greeting: [UInt8] = []
  public var frames: RequestFrames
  public var mix: ModelMix
  /// By model; nil: not checked.
  public var checks: [AnswerCheck?]
  /// By model: the version that was asked for; nil: any.
  public var pinnedVersions: [UInt64?]
  /// By model.
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
  /// Whole nanoseconds, saturated at about 584 years, 0 if negative.
  public var wholeNanoseconds: UInt64 {
    guard self > .zero else { return 0 }
    let (product, overflow) = UInt64(components.seconds).multipliedReportingOverflow(by: 1_000_000_000)
    return overflow ? .max : product &+ UInt64(components.attoseconds / 1_000_000_000)
  }

  /// As a fraction.
  public var inSeconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}

/// Why no load could be made, in one sentence.
public struct LoadError: Error, Equatable, Sendable, CustomStringConvertible {
  public let description: String

  init(_ description: String) { self.description = description }
}
