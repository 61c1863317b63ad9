/// Why no load could be made, in one sentence.
public struct LoadError: Error, Equatable, Sendable, CustomStringConvertible {
  public let description: String

  init(_ description: String) { self.description = description }
}
