package import NeedletailBundle
internal import NeedletailCore
package import NeedletailEngine

/// Why a bundle does not go live.
package struct Rejection: Error, Equatable, Sendable {
  /// The label of `needletail_bundles_rejected_total`.
  package let label: String
  /// One sentence: field, expected, found.
  package let message: String
  /// The fault may lie with the machine and not with the file: worth another try without a change.
  package let isTransient: Bool

  /// The label of a refusal that ends when memory is freed.
  package static let memoryLabel = "memory"

  package init(label: String, message: String, isTransient: Bool = false) {
    self.label = label
    self.message = message
    self.isTransient = isTransient
  }

  package init(_ error: BundleError) {
    self.init(label: error.reason.rawValue, message: error.message, isTransient: error.reason == .io)
  }

  package init(_ error: PlanError) {
    let place = error.node.map { "node \($0.quotedForMessage): " } ?? ""
    self.init(label: "plan", message: place + error.message)
  }

  package init(_ failure: GoldenFailure) {
    self.init(label: "golden", message: failure.description)
  }

  /// A version is immutable: what was published once under a number stays what this number means.
  package static func replaced(_ key: VersionKey, serving: String, found: String) -> Rejection {
    Rejection(
      label: "replaced",
      message:
        "file replaced by another bundle: expected digest \(serving.prefix(12)), found \(found.prefix(12)); "
        + "a version is immutable, publish under a new number")
  }
}
