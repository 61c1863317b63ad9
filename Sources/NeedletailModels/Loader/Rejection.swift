package import NeedletailBundle
internal import NeedletailCore
package import NeedletailEngine

/// Reason why a bundle does not go live.
package struct Rejection: Error, Equatable, Sendable {
  /// The label of the reason in `needletail_bundles_rejected_total`.
  package let label: String
  /// One sentence: field, expected, found; at most ``Limits/rejectionMessageBytesMax`` bytes and an ellipsis.
  package let message: String
  /// True if the fault may lie with the machine and not with the bundle: it is tried again without a change.
  package let isTransient: Bool

  /// The label of a refusal that ends when memory is freed.
  package static let memoryLabel = "memory"

  package init(label: String, message: String, isTransient: Bool = false) {
    self.label = label
    self.message = message.cut(toBytes: Limits.rejectionMessageBytesMax)
    self.isTransient = isTransient
  }

  package init(_ error: BundleError) {
    self.init(label: error.reason.rawValue, message: error.message, isTransient: error.reason == .io)
  }

  package init(_ error: PlanError) {
    let place = error.node.map { "node \($0.quotedForMessage): " } ?? ""
    self.init(
      label: error.isMemoryShort ? Self.memoryLabel : "plan", message: place + error.message,
      isTransient: error.isMemoryShort)
  }

  package init(_ failure: GoldenFailure) {
    self.init(
      label: failure.isMemoryShort ? Self.memoryLabel : "golden", message: failure.description,
      isTransient: failure.isMemoryShort)
  }

  /// The rejection of a bundle that replaced a live one. A version is immutable: a number means the bundle that was first
  /// published under it.
  package static func replaced(_ key: VersionKey, serving: String, found: String) -> Rejection {
    Rejection(
      label: "replaced",
      message:
        "file replaced by another bundle: expected digest \(serving.prefix(12)), found \(found.prefix(12)); "
        + "a version is immutable, publish under a new number")
  }
}
