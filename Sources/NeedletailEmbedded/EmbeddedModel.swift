internal import CNeedletailEmbedded
internal import NeedletailBundle
internal import NeedletailCore
internal import NeedletailEngine

/// One bundle, verified and compiled, with its description as C reads it. Shared by any number of threads.
final class EmbeddedModel: Sendable {
  /// How a bundle is opened: `ntl_options`, checked.
  struct Options {
    var trust: TrustPolicy
    /// Name and version that the bundle must have; nil: any.
    var model: ModelID?
    var version: ModelVersion?
    /// Threads that may share one large layer; 1: the caller's only.
    var threads = 1
    var plan = PlanOptions()
  }

  let compiled: CompiledModel
  let description: EmbeddedDescription

  /// Verifies and compiles a bundle and answers its golden samples, as a server does before a version goes live.
  init(path: String, _ options: Options) throws(EmbeddedError) {
    do throws(PlanError) { try InstructionSet.validateEnvironment() } catch { throw EmbeddedError(error) }
    let (bundle, contents) = try Self.read(path: path, options)
    if options.threads > 1 { EnginePool.start(threads: options.threads) }
    compiled = try Self.compile(contents, options.plan)
    description = EmbeddedDescription(compiled, bundle, contents)
  }

  private static func read(
    path: String, _ options: Options
  ) throws(EmbeddedError) -> (VerifiedBundle, BundleContents) {
    do throws(BundleError) {
      let bundle = try VerifiedBundle(
        BundleFile.open(path: path), trust: options.trust, expecting: nil, nowMilliseconds: Moment.now().milliseconds)
      try check(bundle.manifest, options)
      return (bundle, try bundle.decode())
    } catch {
      throw EmbeddedError(error)
    }
  }

  /// A caller may expect a model without expecting a version, which a store's path always says.
  private static func check(_ manifest: BundleManifest, _ options: Options) throws(BundleError) {
    if let model = options.model, model != manifest.model {
      throw BundleError(
        .wrongName,
        "model: expected \(model.name.quotedForMessage), found \(manifest.model.name.quotedForMessage)")
    }
    if let version = options.version, version != manifest.version {
      throw BundleError(.wrongName, "version: expected \(version), found \(manifest.version)")
    }
  }

  private static func compile(_ contents: BundleContents, _ options: PlanOptions) throws(EmbeddedError) -> CompiledModel
  {
    let model: CompiledModel
    do throws(PlanError) {
      let choice = try PlanChoice.make(for: contents.definition.graph, policy: .stored, isa: options.isa)
      model = try CompiledModel(contents.definition, options: options, choice: choice)
    } catch {
      throw EmbeddedError(error)
    }
    do throws(GoldenFailure) {
      return try model.passing(contents.golden, of: contents.definition, options: options)
    } catch {
      throw EmbeddedError(error)
    }
  }

  /// - Throws: `.notFound` with the outputs that there are.
  func outputIndex(of name: UnsafeRawBufferPointer) throws(EmbeddedError) -> Int {
    let outputs = compiled.plan.outputs
    guard let index = outputs.firstIndex(where: { $0.name.utf8.elementsEqual(name) }) else {
      throw EmbeddedError(
        .unknownOutput(
          String(decoding: name.prefix(Limits.featureNameBytesMax), as: UTF8.self), among: outputs.map(\.name)))
    }
    return index
  }
}
