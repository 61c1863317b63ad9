internal import CNeedletailProto
internal import NeedletailCore
internal import NeedletailEngine

/// Figures that the trainer measured.
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
    let memory = MessageBuilder()
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
    let memory = MessageBuilder()
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

/// How inputs and answers were distributed when the model was trained.
enum DriftSection {
  static func decode(_ bytes: UnsafeRawBufferPointer) throws(BundleError) -> DriftBaseline {
    let memory = MessageMemory(forMessageOf: bytes.count)
    let message = try memory.unpack(bytes, what: "drift baseline", needletail__v1__drift_baseline__init)
    defer { withExtendedLifetime(memory) {} }
    try Bounds.check(message.n_features, 0...Limits.featuresMax, "drift baseline: features")
    guard let prediction = message.prediction?.pointee else {
      throw BundleError(.malformed, "drift baseline: prediction: expected one, found none")
    }
    let features = try MessageValues.messages(message.features, message.n_features).map { feature throws(BundleError) in
      try column(feature)
    }
    return DriftBaseline(features: features, prediction: try column(prediction))
  }

  private static func column(
    _ message: Needletail__V1__FeatureBaseline
  ) throws(BundleError) -> DriftBaseline.Column {
    let name = MessageValues.text(message.name)
    let field = "drift baseline of \(name.quotedForMessage)"
    try Bounds.check(message.n_categories, 0...Limits.categoriesMax, "\(field): categories")
    let counts = try MessageValues.array(message.bin_counts, message.n_bin_counts).map { count throws(BundleError) in
      try MessageValues.count(count, "\(field): bin count")
    }
    let categories = try MessageValues.messages(message.categories, message.n_categories).map {
      entry throws(BundleError) -> (category: String, count: Int) in
      (MessageValues.text(entry.category), try MessageValues.count(entry.count, "\(field): category count"))
    }
    return DriftBaseline.Column(
      name: name, rows: try MessageValues.count(message.rows, "\(field): rows"), missingRate: message.missing_rate,
      quantileEdges: MessageValues.array(message.quantile_edges, message.n_quantile_edges), binCounts: counts,
      categories: categories)
  }

  static func encode(_ baseline: DriftBaseline) -> [UInt8] {
    let memory = MessageBuilder()
    let features = baseline.features.map { message(of: $0, in: memory) }
    return memory.pack(
      memory.build(needletail__v1__drift_baseline__init) {
        $0.n_features = features.count
        $0.features = memory.array(features)
        $0.prediction = message(of: baseline.prediction, in: memory)
      })
  }

  private static func message(
    of column: DriftBaseline.Column, in memory: MessageBuilder
  ) -> UnsafeMutablePointer<Needletail__V1__FeatureBaseline>? {
    let categories = column.categories.map { entry in
      memory.build(needletail__v1__category_count__init) {
        $0.category = memory.text(entry.category)
        $0.count = UInt64(entry.count)
      }
    }
    return memory.build(needletail__v1__feature_baseline__init) {
      $0.name = memory.text(column.name)
      $0.rows = UInt64(column.rows)
      $0.missing_rate = column.missingRate
      $0.n_quantile_edges = column.quantileEdges.count
      $0.quantile_edges = memory.array(column.quantileEdges)
      $0.n_bin_counts = column.binCounts.count
      $0.bin_counts = memory.array(column.binCounts.map { UInt64($0) })
      $0.n_categories = categories.count
      $0.categories = memory.array(categories)
    }
  }
}

/// Raw rows and what must come out of them.
enum GoldenSection {
  static func decode(_ bytes: UnsafeRawBufferPointer) throws(BundleError) -> [GoldenSample] {
    let memory = MessageMemory(forMessageOf: bytes.count)
    let message = try memory.unpack(bytes, what: "golden samples", needletail__v1__golden_samples__init)
    defer { withExtendedLifetime(memory) {} }
    try Bounds.check(message.n_samples, 0...Limits.goldenSamplesMax, "golden samples")
    return try MessageValues.messages(message.samples, message.n_samples).map { sample throws(BundleError) in
      try self.sample(sample)
    }
  }

  private static func sample(_ message: Needletail__V1__GoldenSample) throws(BundleError) -> GoldenSample {
    let name = MessageValues.text(message.name)
    let field = "golden sample \(name.quotedForMessage)"
    try Bounds.check(message.n_cells, 0...Limits.featuresMax, "\(field): cells")
    try Bounds.check(message.n_expected, 0...Limits.graphOutputsMax, "\(field): outputs")
    let cells = try MessageValues.messages(message.cells, message.n_cells).map { cell throws(BundleError) -> Cell in
      switch cell.content_case {
      case NEEDLETAIL__V1__CELL__CONTENT_NUMBER: .number(cell.number)
      case NEEDLETAIL__V1__CELL__CONTENT_TEXT: .text(MessageValues.text(cell.text))
      case NEEDLETAIL__V1__CELL__CONTENT_MISSING where cell.missing != 0: .missing
      default: throw BundleError(.malformed, "\(field): cell: expected a number, a text or missing, found none")
      }
    }
    let answers = try MessageValues.messages(message.expected, message.n_expected).map {
      output throws(BundleError) -> (name: String, answer: GoldenSample.Answer) in
      let name = MessageValues.text(output.name)
      guard (output.n_numbers == 0) != (output.n_strings == 0) else {
        throw BundleError(
          .malformed,
          "\(field): output \(name.quotedForMessage): expected numbers or strings, found \(output.n_numbers) and \(output.n_strings)"
        )
      }
      return (
        name,
        output.n_numbers > 0
          ? .numbers(MessageValues.array(output.numbers, output.n_numbers))
          : .strings(MessageValues.texts(output.strings, output.n_strings))
      )
    }
    let status = try MessageValues.enumeration(message.status.rawValue, as: StatusCode.self, "\(field): status")
    guard (status == .ok) == !answers.isEmpty else {
      throw BundleError(
        .malformed, "\(field): expected outputs exactly when the status is OK, found \(answers.count) with \(status)")
    }
    return GoldenSample(
      name: name, cells: cells, expectation: status == .ok ? .answers(answers) : .refusal(status),
      tolerance: message.tolerance, numerics: message.numerics)
  }

  static func encode(_ samples: [GoldenSample]) -> [UInt8] {
    let memory = MessageBuilder()
    let messages = samples.map { message(of: $0, in: memory) }
    return memory.pack(
      memory.build(needletail__v1__golden_samples__init) {
        $0.n_samples = messages.count
        $0.samples = memory.array(messages)
      })
  }

  private static func message(
    of sample: GoldenSample, in memory: MessageBuilder
  ) -> UnsafeMutablePointer<Needletail__V1__GoldenSample>? {
    let cells = sample.cells.map { cell in
      memory.build(needletail__v1__cell__init) {
        switch cell {
        case .number(let number):
          $0.content_case = NEEDLETAIL__V1__CELL__CONTENT_NUMBER
          $0.number = number
        case .text(let text):
          $0.content_case = NEEDLETAIL__V1__CELL__CONTENT_TEXT
          $0.text = memory.text(text)
        case .missing:
          $0.content_case = NEEDLETAIL__V1__CELL__CONTENT_MISSING
          $0.missing = 1
        }
      }
    }
    return memory.build(needletail__v1__golden_sample__init) {
      $0.name = memory.text(sample.name)
      $0.n_cells = cells.count
      $0.cells = memory.array(cells)
      $0.tolerance = sample.tolerance
      $0.numerics = sample.numerics
      switch sample.expectation {
      case .refusal(let status): $0.status = Needletail__V1__StatusCode(UInt32(status.rawValue))
      case .answers(let answers):
        let expected = answers.map { message(of: $0.answer, named: $0.name, in: memory) }
        $0.n_expected = expected.count
        $0.expected = memory.array(expected)
      }
    }
  }

  private static func message(
    of answer: GoldenSample.Answer, named name: String, in memory: MessageBuilder
  ) -> UnsafeMutablePointer<Needletail__V1__GoldenOutput>? {
    memory.build(needletail__v1__golden_output__init) {
      $0.name = memory.text(name)
      switch answer {
      case .numbers(let numbers):
        $0.n_numbers = numbers.count
        $0.numbers = memory.array(numbers)
      case .strings(let strings):
        $0.n_strings = strings.count
        $0.strings = memory.array(strings.map { memory.text($0) })
      }
    }
  }
}
