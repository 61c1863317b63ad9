internal import NeedletailCore

/// Why a graph or a schema cannot be compiled: the node at fault, if one is, and one sentence.
public struct PlanError: Error, Equatable, Sendable, CustomStringConvertible {
  /// Name of the node (or of the feature) at fault, as the bundle spells it.
  public let node: String?
  public let message: String

  public init(node: String? = nil, _ message: String) {
    self.node = node
    self.message = message
  }

  init(_ fault: GraphFault) { self.init(node: fault.node, fault.message) }

  public var description: String { message }
}
