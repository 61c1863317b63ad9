import NeedletailBundle
import NeedletailCore
import NeedletailTestSupport
import Testing

/// Reads a bundle as a server does.
func read(
  _ bytes: [UInt8], trust: TrustPolicy = BundleFixtures.trust, model: String = BundleFixtures.modelName,
  version: UInt64 = 1, limits: BundleLimits = BundleLimits(), nowMilliseconds: UInt64 = 1_800_000_000_000
) throws -> BundleContents {
  try VerifiedBundle(
    BundleFile(bytes: bytes), trust: trust, expecting: (ModelID(model), ModelVersion(version)!), limits: limits,
    nowMilliseconds: nowMilliseconds
  ).decode()
}

/// - Returns: why the bundle is refused, nil if it is not.
func refusal(
  _ bytes: [UInt8], trust: TrustPolicy = BundleFixtures.trust, limits: BundleLimits = BundleLimits()
) -> BundleError? {
  do {
    _ = try read(bytes, trust: trust, limits: limits)
    return nil
  } catch {
    return error as? BundleError
  }
}

/// The sections of a bundle, stored raw, ready to be made faulty.
func assembly(
  _ contents: BundleContents = BundleFixtures.contents(), compressing: Bool = false, validating: Bool = true
) throws -> BundleAssembly {
  try BundleWriter(
    model: ModelID(BundleFixtures.modelName), version: ModelVersion(1)!, contents: contents,
    createdMilliseconds: 1_760_000_000_000
  ).assembly(compressing: compressing, validating: validating)
}

/// A fault by its name, with the reason it must be refused for.
struct Fault<Subject>: Sendable, CustomTestStringConvertible {
  let name: String
  let reason: BundleError.Reason
  let apply: @Sendable (inout Subject) throws -> Void

  init(_ name: String, _ reason: BundleError.Reason, _ apply: @escaping @Sendable (inout Subject) throws -> Void) {
    self.name = name
    self.reason = reason
    self.apply = apply
  }

  var testDescription: String { name }
}
