internal import CNeedletailProto
internal import NeedletailCore

/// What the trainer measured.
enum MetricsSection {
  static func decode(_ bytes: UnsafeRawBufferPointer) throws(BundleError) -> [String: Double] {
    let memory = MessageMemory(forMessageOf: bytes.count)
    let message = try memory.unpack(bytes, what: "training metrics", needletail__v1__training_metrics__init)
    defer { withExtendedLifetime(memory) {} }
    try Bounds.check(message.n_values, 0...Limits.trainingMetricsMax, "training metrics")
    var metrics: [String: Double] = [:]
    for entry in MessageValues.messages(message.values, message.n_values) {
      let name = MessageValues.text(entry.key)
      guard metrics.updateValue(entry.value, forKey: name) == nil else {
        throw BundleError(.malformed, "training metric \(name.quotedForMessage): expected one value, found another")
      }
    }
    return metrics
  }

  /// Ordered by name, so that equal metrics give equal bytes.
  static func encode(_ metrics: [String: Double]) -> [UInt8] {
    let memory = MessageMemory.forBuilding()
    let values = metrics.sorted { $0.key < $1.key }.map { name, value in
      memory.build(needletail__v1__training_metrics__values_entry__init) {
        $0.key = memory.text(name)
        $0.value = value
      }
    }
    return memory.pack(
      memory.build(needletail__v1__training_metrics__init) {
        $0.n_values = values.count
        $0.values = memory.array(values)
      })
  }
}

/// Where the model came from.
enum LineageSection {
  static func decode(_ bytes: UnsafeRawBufferPointer) throws(BundleError) -> Lineage {
    let memory = MessageMemory(forMessageOf: bytes.count)
    let message = try memory.unpack(bytes, what: "lineage", needletail__v1__lineage__init)
    defer { withExtendedLifetime(memory) {} }
    return Lineage(
      trainerVersion: MessageValues.text(message.trainer_version),
      dataSHA256: MessageValues.text(message.data_sha256),
      configuration: MessageValues.text(message.configuration), seed: message.seed,
      parent: MessageValues.text(message.parent), family: MessageValues.text(message.family),
      rows: try MessageValues.count(message.rows, "lineage: rows"),
      quantisation: MessageValues.text(message.quantisation))
  }

  static func encode(_ lineage: Lineage) -> [UInt8] {
    let memory = MessageMemory.forBuilding()
    return memory.pack(
      memory.build(needletail__v1__lineage__init) {
        $0.trainer_version = memory.text(lineage.trainerVersion)
        $0.data_sha256 = memory.text(lineage.dataSHA256)
        $0.configuration = memory.text(lineage.configuration)
        $0.seed = lineage.seed
        $0.parent = memory.text(lineage.parent)
        $0.family = memory.text(lineage.family)
        $0.rows = UInt64(lineage.rows)
        $0.quantisation = memory.text(lineage.quantisation)
      })
  }
}
