internal import NeedletailBundle
public import NeedletailCore
internal import NeedletailEngine
internal import NeedletailYAML

/// The version of a model that serves from a store.
public struct ServingVersion {
  public let version: ModelVersion
  /// Digest of its bundle.
  public let digest: String
  /// Where it lies, in words for people.
  let place: String
  let definition: ModelDefinition
  let compiled: CompiledModel

  /// Finds the version that `rollout.yaml` puts first, else the newest one.
  ///
  /// - Returns: nil where the store holds no version, or the model is retired.
  /// - Throws: `TrainingError` of kind `output` where it cannot be read.
  public init?(of model: ModelID, store: String) throws(TrainingError) {
    let store = try PublishStores.open(store)
    guard let version = try Self.version(of: model, in: store) else { return nil }
    self.version = version
    place = store.place(of: model, version)
    let (manifest, contents) = try BundleContents.read(place) { () throws(BundleError) in
      try store.bundle(model, version)
    }
    digest = manifest.digest
    definition = contents.definition
    do throws(PlanError) { compiled = try CompiledModel(definition) } catch { throw TrainingError(error) }
  }

  private static func version(of model: ModelID, in store: any PublishStore) throws(TrainingError) -> ModelVersion? {
    let next: ModelVersion
    do throws(BundleError) {
      if let text = try store.rollout(of: model), let preferred = try preferred(by: text, of: model, in: store) {
        return preferred.first
      }
      next = try store.nextVersion(of: model)
    } catch {
      throw TrainingError(error)
    }
    return ModelVersion(next.number - 1)
  }

  /// Versions in the order in which a rollout file prefers them; nil: the latest.
  private static func preferred(
    by text: String, of model: ModelID, in store: any PublishStore
  ) throws(BundleError) -> [ModelVersion]? {
    do throws(YAMLError) {
      return try ServingOrders(YAMLNode.parse(text, file: "rollout.yaml")).preferred
    } catch {
      throw BundleError(
        .malformed, "\(store.name)/\(model)/rollout.yaml: expected the orders for the model, found: \(error)")
    }
  }
}

/// What a `rollout.yaml` says of the version that answers calls. The control plane, which obeys the whole of it, is no
/// part of the trainer.
struct ServingOrders {
  /// Versions in order of preference, as the server prefers them; nil: the latest.
  private(set) var preferred: [ModelVersion]?

  init(_ root: YAMLNode) throws(YAMLError) {
    let entries = try root.entries(known: ["serve", "labels", "split", "shadow", "guard", "experiment", "keep"])
    func value(_ word: String) -> YAMLNode? { entries.first { $0.word == word }?.value }
    let labels = try value("labels")?.entries() ?? []
    func version(_ node: YAMLNode) throws(YAMLError) -> ModelVersion {
      let word = try node.text()
      if let version = ModelVersion(decimal: word) { return version }
      guard let label = labels.first(where: { $0.word == word }),
        let version = ModelVersion(decimal: try label.value.text())
      else { throw node.wrong(expected: "a version or a label") }
      return version
    }
    let stable = try labels.first { $0.word == "stable" }.map { (label) throws(YAMLError) in try version(label.value) }
    var served: [ModelVersion]?
    var isLatest = false
    if let serve = value("serve") {
      if case .list(let items) = serve.content {
        served = try items.map(version)
      } else {
        switch try serve.text() {
        case "latest": isLatest = true
        case "none":
          preferred = []
          return
        default: served = [try version(serve)]
        }
      }
    }
    var baseline: ModelVersion?
    if let split = value("split") {
      var arms: [(version: ModelVersion, share: Double)] = []
      for entry in try split.entries() {
        guard let share = Double(try entry.value.text()) else { throw entry.value.wrong(expected: "a number") }
        arms.append((try version(entry.key), share))
      }
      let inSplit = ([stable] + (served ?? [])).lazy.compactMap { $0 }.first { one in
        arms.contains { $0.version == one }
      }
      baseline = inSplit ?? arms.max { $0.share < $1.share }?.version
    }
    let rest = served ?? (isLatest ? [] : stable.map { [$0] } ?? [])
    let all = (baseline.map { [$0] } ?? []) + rest
    preferred = all.isEmpty ? nil : all
  }
}
