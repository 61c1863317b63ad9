public import NeedletailCore

/// Which golden sample a model failed, and how.
public struct GoldenFailure: Error, Equatable, Sendable, CustomStringConvertible {
  public let sample: String
  /// The output at fault; nil where the whole row was at fault.
  public let output: String?
  public let expected: String
  public let found: String

  public init(sample: String, output: String?, expected: String, found: String) {
    self.sample = sample
    self.output = output
    self.expected = expected
    self.found = found
  }

  public var description: String {
    let place = output.map { ", output \($0.quotedForMessage)" } ?? ""
    return "golden sample \(sample.quotedForMessage)\(place): expected \(expected), found \(found)"
  }
}

/// Runs a bundle's golden samples on the machine that will serve it.
public enum GoldenCheck {
  /// - Throws: the first sample whose answer differs by more than its tolerance.
  public static func run(_ samples: [GoldenSample], on model: CompiledModel) throws(GoldenFailure) {
    fatalError("not yet")
  }
}
