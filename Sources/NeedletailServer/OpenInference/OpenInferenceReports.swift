internal import NeedletailCore
internal import NeedletailWire

/// Answers of the Open Inference Protocol to what is no inference, as JSON.
enum OpenInferenceReports {
  /// `GET /v2`.
  static let server = Array(
    """
    {"name":"needletail","version":"\(needletailVersion)",\
    "extensions":["binary_tensor_data","model_repository","model_configuration","statistics","server_info","jobs",\
    "feedback"]}
    """.utf8)

  /// - Parameter route: what was asked.
  static func answer(_ answer: ControlAnswer, to route: OpenInferenceRoute) -> (status: Int, json: String) {
    switch (answer, route) {
    case (.serverInfo(let report), _): return (200, information(report))
    case (.feedback(let report), _): return (200, FeedbackJSON.answer(report))
    case (.health(let report), _): return (report.ready ? 200 : 503, "{\"ready\":\(report.ready)}")
    case (.models(let report), .statistics): return (200, statistics(report.models))
    case (.models(let report), _): return (200, index(report.models))
    case (.description(let model), .model(.metadata)): return (200, metadata(model))
    case (.description(let model), .model(.configuration)): return (200, configuration(model))
    case (.description(let model), .model(.statistics)):
      let versions = [model.status].compactMap { $0 }
      return (200, statistics([ModelStatusReport(model: model.model, servingVersion: 0, versions: versions)]))
    case (.description(let model), _):
      let isReady = model.state == .live
      return (
        isReady ? 200 : 503,
        "{\"name\":\(JSONText.quoted(model.model)),\"version\":\"\(model.version)\",\"ready\":\(isReady)}"
      )
    case (.metrics, _), (.events, _), (.rollout, _), (.error, _): preconditionFailure("no path asks for these")
    }
  }

  private static func information(_ report: ServerInfoReport) -> String {
    let features = report.features.map(JSONText.quoted).joined(separator: ",")
    let limits = report.limits.named.map { "\"\($0.name)\":\($0.value)" }.joined(separator: ",")
    return "{\"name\":\(JSONText.quoted(report.name)),\"version\":\(JSONText.quoted(report.version)),"
      + "\"isa\":\(JSONText.quoted(report.isa)),\"features\":[\(features)],\"limits\":{\(limits)}}"
  }

  /// An error: the sentence under the protocol's name, the code, and for programs what it is about.
  static func error(_ error: ServingError) -> String { "{\(members(of: error).joined(separator: ","))}" }

  /// The members of such an object.
  static func members(of error: ServingError) -> [String] {
    var members = ["\"error\":\(JSONText.quoted(error.message))", "\"code\":\"\(error.code)\""]
    if let detail = error.detail {
      if !detail.field.isEmpty { members.append("\"field\":\(JSONText.quoted(detail.field))") }
      if let row = detail.row { members.append("\"row\":\(row)") }
      if let limit = detail.limit {
        members.append(
          "\"limit\":{\"name\":\(JSONText.quoted(limit.name)),\"maximum\":\(limit.maximum),\"found\":\(limit.found)}")
      }
    }
    return members
  }

  // MARK: tensors

  /// A tensor as the protocol declares it.
  private struct Tensor {
    var name: String
    var type: String
    /// Dimensions behind the rows.
    var dimensions: [UInt64]
  }

  /// Inputs as clients send them: all columns of a table of numbers as one tensor, and those of other tables one by one.
  private static func inputs(_ model: ModelDescription) -> [Tensor] {
    let types = Set(model.inputs.map(\.type))
    guard types.count == 1, let type = types.first ?? nil, type != .string,
      !model.inputs.contains(where: { $0.name == "features" })
    else { return model.inputs.map { Tensor(name: $0.name, type: name($0.type), dimensions: []) } }
    return [Tensor(name: "features", type: name(type), dimensions: [UInt64(model.inputs.count)])]
  }

  private static func outputs(_ model: ModelDescription) -> [Tensor] {
    model.outputs.map { Tensor(name: $0.name, type: name($0.type), dimensions: Array($0.shape.dropFirst())) }
  }

  /// A size as the protocol writes it: −1 where only an answer knows.
  private static func dimension(_ size: UInt64) -> String { size == 0 ? "-1" : "\(size)" }

  private static func name(_ type: DataType?) -> String {
    switch type {
    case .float32: "FP32"
    case .float64: "FP64"
    case .int8: "INT8"
    case .int16: "INT16"
    case .int32: "INT32"
    case .int64: "INT64"
    case .uint8: "UINT8"
    case .bool: "BOOL"
    case .string, nil: "BYTES"
    }
  }

  // MARK: models

  private static func metadata(_ model: ModelDescription) -> String {
    func list(_ tensors: [Tensor]) -> String {
      tensors.map { tensor in
        let shape = (["-1"] + tensor.dimensions.map(dimension)).joined(separator: ",")
        return "{\"name\":\(JSONText.quoted(tensor.name)),\"datatype\":\"\(tensor.type)\",\"shape\":[\(shape)]}"
      }.joined(separator: ",")
    }
    return "{\"name\":\(JSONText.quoted(model.model)),\"versions\":[\"\(model.version)\"],\"platform\":\"needletail\","
      + "\"inputs\":[\(list(inputs(model)))],\"outputs\":[\(list(outputs(model)))]}"
  }

  /// The configuration that tools for Triton read: how many rows a call may have, and the tensors without them.
  private static func configuration(_ model: ModelDescription) -> String {
    func list(_ tensors: [Tensor]) -> String {
      tensors.map { tensor in
        let dims = tensor.dimensions.isEmpty ? "1" : tensor.dimensions.map(dimension).joined(separator: ",")
        let type = tensor.type == "BYTES" ? "STRING" : tensor.type
        return "{\"name\":\(JSONText.quoted(tensor.name)),\"data_type\":\"TYPE_\(type)\",\"dims\":[\(dims)]}"
      }.joined(separator: ",")
    }
    return "{\"name\":\(JSONText.quoted(model.model)),\"platform\":\"needletail\",\"backend\":\"needletail\","
      + "\"max_batch_size\":\(Limits.batchRowsMaxDefault),"
      + "\"input\":[\(list(inputs(model)))],\"output\":[\(list(outputs(model)))],\"parameters\":{}}"
  }

  /// The index of the store: each version that is live or on its way, and why others are not.
  private static func index(_ models: [ModelStatusReport]) -> String {
    let entries = models.flatMap { model in
      model.versions.map { version in
        let state =
          switch version.state {
          case .live: "READY"
          case .incomplete, .verifying, .loading, .checking, .warming: "LOADING"
          case .retiring: "UNLOADING"
          case .retired, .rejected, nil: "UNAVAILABLE"
          }
        return "{\"name\":\(JSONText.quoted(model.model)),\"version\":\"\(version.version)\",\"state\":\"\(state)\","
          + "\"reason\":\(JSONText.quoted(version.reason))}"
      }
    }
    return "[\(entries.joined(separator: ","))]"
  }

  /// Counts since the version went live. The server keeps no sums of times for each version, which are 0 here; `/metrics`
  /// has their histograms.
  private static func statistics(_ models: [ModelStatusReport]) -> String {
    let entries = models.flatMap { model in
      model.versions.filter { $0.state == .live }.map { version in
        let traffic = version.traffic
        let (requests, failed) = (traffic?.requests ?? 0, traffic?.failed ?? 0)
        let good = requests - min(failed, requests)
        func times(_ count: UInt64) -> String { "{\"count\":\(count),\"ns\":0}" }
        return "{\"name\":\(JSONText.quoted(model.model)),\"version\":\"\(version.version)\",\"last_inference\":0,"
          + "\"inference_count\":\(traffic?.rows ?? 0),\"execution_count\":\(good),"
          + "\"inference_stats\":{\"success\":\(times(good)),\"fail\":\(times(failed)),\"queue\":\(times(good)),"
          + "\"compute_input\":\(times(good)),\"compute_infer\":\(times(good)),\"compute_output\":\(times(good)),"
          + "\"cache_hit\":\(times(0)),\"cache_miss\":\(times(0))},\"batch_stats\":[],\"memory_usage\":[]}"
      }
    }
    return "{\"model_stats\":[\(entries.joined(separator: ","))]}"
  }
}
