internal import CNeedletailEmbedded
internal import NeedletailBundle
internal import NeedletailCore
internal import NeedletailEngine

/// What is known of a model, as an `ntl_description` that C may read while the model is open.
///
/// Unchecked: all of it is written by the initialiser and only read afterwards.
final class EmbeddedDescription: @unchecked Sendable {
  /// Bytes of all texts of one call: as many as a server takes in a frame.
  static let textBytesMax = Limits.frameBytesMaxDefault

  private let memory = CMemory()
  let pointer: UnsafePointer<ntl_description>
  /// Labels of the classes; answers point at them.
  let labels: UnsafeBufferPointer<ntl_text>

  init(_ model: CompiledModel, _ bundle: VerifiedBundle, _ contents: BundleContents) {
    let (definition, plan, manifest) = (model.definition, model.plan, bundle.manifest)
    let labelTexts = definition.labels.map(memory.text)
    labels = UnsafeBufferPointer(start: memory.array(labelTexts), count: labelTexts.count)
    let metrics = contents.metrics.sorted { $0.key < $1.key }
    let facts = (contents.lineage?.facts ?? [:]).sorted { $0.key < $1.key }

    var description = ntl_description()
    description.model = memory.text(manifest.model.name)
    description.version = manifest.version.number
    description.task = memory.text(definition.graph.task.rawValue)
    description.features = memory.array(definition.schema.features.map { [memory] in Self.feature($0, memory) })
    description.feature_count = definition.schema.features.count
    description.outputs = memory.array(plan.outputs.map { [memory] in Self.output($0, memory) })
    description.output_count = plan.outputs.count
    description.labels = labels.baseAddress
    description.label_count = labels.count
    description.digest = memory.text(manifest.digest)
    description.signer = memory.text(bundle.signer)
    description.created_ms = manifest.createdMilliseconds
    description.metrics = memory.array(
      metrics.map { [memory] in ntl_metric(name: memory.text($0.key), value: $0.value) })
    description.metric_count = metrics.count
    description.lineage = memory.array(
      facts.map { [memory] in ntl_fact(name: memory.text($0.key), value: memory.text($0.value)) })
    description.lineage_count = facts.count
    description.precision = memory.text(plan.precision)
    description.isa = memory.text(plan.isa.rawValue)
    description.plan = memory.array(plan.steps.map { [memory] in memory.text($0.description) })
    description.plan_count = plan.steps.count
    description.plan_choice = memory.text(model.choice?.description ?? "")
    description.resident_bytes = plan.residentBytes
    description.context_bytes = plan.workspaceBytes
    description.rows_max = Limits.batchRowsMaxDefault
    description.text_bytes_max = Self.textBytesMax
    description.threads = UInt32(clamping: EnginePool.threads)
    guard let copy = memory.array([description]) else { preconditionFailure("an array of one element is empty") }
    pointer = copy
  }

  private static func feature(_ feature: Feature, _ memory: CMemory) -> ntl_feature {
    var categories: [ntl_text] = []
    if case .categorical(let names, _) = feature.kind { categories = names.map(memory.text) }
    var type = NTL_STRING
    if case .numeric = feature.kind { type = NTL_FLOAT32 }
    var isText = false
    if case .text = feature.kind { isText = true }
    var summary = feature.summary
    if summary.isEmpty, case .datetime(let order) = feature.kind { summary = order.words }
    return ntl_feature(
      name: memory.text(feature.name), type: type, optional: feature.missing == .impute, text: isText,
      categories: memory.array(categories), category_count: categories.count, description: memory.text(summary))
  }

  private static func output(_ output: PlanOutput, _ memory: CMemory) -> ntl_output_info {
    let type =
      switch output.kind {
      case .number: NTL_FLOAT32
      case .classIndex: NTL_INT64
      case .classLabel: NTL_STRING
      }
    return ntl_output_info(
      name: memory.text(output.name), type: type, columns: output.kind == .number ? output.columns : 1)
  }
}
